#!/usr/bin/python3
"""header - reads the public header, which is the manual, into sections of declarations with their comments.

  site/header.py man      prints man/syncengine.3

What it relies on is the header's own shape: sections begin with "/* ---- name ----", a declaration starts in the first
column, the comment in front of it (or behind it on its last line) is its documentation. A function that it would not see is
an error: the names found are compared with those of every SE_API.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
HEADER = ROOT / 'include' / 'syncengine' / 'syncengine.h'


class Declaration:
    """A piece of code with its documentation. names: the functions, types and macros that it declares."""

    def __init__(self, code, words):
        self.code, self.words = re.sub(r'\bSE_API ', '', code), words
        bare = re.sub(r'/\*.*?\*/', '', code, flags=re.S)
        self.functions = re.findall(r'^(?:SE_API|static inline)\b[^;({]*?\b(se_\w+)\(', bare, re.M)
        self.types = re.findall(r'^(?:typedef [^;]*)?\}\s*(se_\w+);', bare, re.M) + re.findall(r'^typedef [^{;]*?\b\(?\*?(se_\w+_fn|se_\w+(?=;))', bare, re.M)
        self.macros = re.findall(r'^#define (SE_\w+)', bare, re.M)
        self.constants = [c for body in re.findall(r'\benum\s*\w*\s*\{(.*?)\}', bare, re.S)
                          for c in re.findall(r'\b(SE_[A-Z0-9_]+)\b(?=\s*(?:=|,|$))', body)]
        self.names = list(dict.fromkeys(self.functions + self.types + self.macros))


class Section:
    def __init__(self, name):
        self.name, self.words, self.declarations = name, [], []

    @property
    def slug(self):
        return re.sub(r'[^a-z0-9]+', '-', self.name.lower()).strip('-')


def comment_text(comment):
    """The words of a comment, without its stars; relative indentation stays, for tables."""
    body = re.sub(r'^/\*+|\*+/$', '', comment.strip())
    lines = [re.sub(r'^\s*\* ?', '', line) if re.match(r'^\s*\*', line) else line for line in body.splitlines()]
    return '\n'.join(line.rstrip() for line in lines).strip('\n')


def blocks_of(text):
    """The header's lines in groups: ('comment', text), ('code', text) or ('blank', '')."""
    lines, at = text.splitlines(), 0
    while at < len(lines):
        line, start = lines[at], at
        if not line.strip():
            yield 'blank', ''
            at += 1
        elif line.lstrip().startswith('/*'):
            while '*/' not in lines[at]:
                at += 1
            at += 1
            yield 'comment', '\n'.join(lines[start:at])
        else:
            depth = 0
            while True:
                bare = re.sub(r'/\*.*?(\*/|$)', '', lines[at])
                depth += bare.count('{') + bare.count('(') - bare.count('}') - bare.count(')')
                inside = lines[at].rfind('/*') > lines[at].rfind('*/')
                if inside:  # a comment behind the code that goes on
                    while '*/' not in lines[at]:
                        at += 1
                at += 1
                ended = bare.lstrip().startswith('#') or (depth == 0 and re.search(r'[;}]\s*$', bare.rstrip()))
                if ended or at >= len(lines):
                    break
            yield 'code', '\n'.join(lines[start:at])


def boilerplate(code):
    return re.match(r'#\s*(ifndef|ifdef|endif|include|define SYNCENGINE_H|define SE_API)|extern "C"|\}$', code.strip())


def read(path=HEADER):
    """(the head comment, [Section])."""
    text = path.read_text()
    head, sections, words, group = '', [Section('results and limits')], '', []

    def close():
        nonlocal words, group
        if group:
            sections[-1].declarations.append(Declaration('\n'.join(group), words))
        elif words:
            sections[-1].words.append(words)
        words, group = '', []

    for kind, piece in blocks_of(text):
        title = re.match(r'/\* ---- (.*?) -+ \*/', piece) if kind == 'comment' else None
        if title:
            close()
            sections.append(Section(title[1]))
        elif kind == 'comment' and not head:
            head = comment_text(piece)
        elif kind == 'comment':
            close()
            words = comment_text(piece)
        elif kind == 'blank':
            close()
        elif not boilerplate(piece):
            group.append(piece)
    close()
    promised = set(re.findall(r'^SE_API\b[^;(]*?\b(se_\w+)\(', re.sub(r'/\*.*?\*/', '', text, flags=re.S), re.M))
    seen = {f for s in sections for d in s.declarations for f in d.functions}
    if promised - seen:
        raise SystemExit(f'header.py does not see {sorted(promised - seen)}')
    return head, [s for s in sections if s.declarations]


def functions(path=HEADER):
    """The code of every exported function's declaration."""
    text = re.sub(r'/\*.*?\*/', '', path.read_text(), flags=re.S)
    return re.findall(r'^SE_API\b[^;]*;', text, re.M)


def roff(text):
    text = text.replace('\\', '\\e').replace('-', '\\-')
    return '\n'.join('\\&' + line if line[:1] in ".'" else line for line in text.splitlines())


def prose(text):
    """True if a comment is sentences, false if its columns mean something."""
    return not re.search(r'\S {3,}\S|^ {2,}\S', text, re.M)


def man():
    head, sections = read()
    version = '.'.join(re.search(rf'define SE_VERSION_{part} (\d+)', HEADER.read_text())[1]
                       for part in ('MAJOR', 'MINOR', 'PATCH'))
    out = ['.\\" Generated from the public header: site/header.py man',
           f'.TH SYNCENGINE 3 "" "syncengine {version}" "Library Functions"',
           '.SH NAME', 'syncengine \\- three\\-tier caching sync engine: memory, Redis, MySQL or SQLite',
           '.SH SYNOPSIS', '.nf', '.B #include <syncengine/syncengine.h>', '.PP',
           'cc \\fIprogram.c\\fR $(pkg\\-config \\-\\-cflags \\-\\-libs syncengine)', '.fi',
           '.SH DESCRIPTION', 'A map in memory in front of Redis and a SQL database, kept in step with them. This page is the',
           'public header, section by section.', '.SH CONVENTIONS', '.nf', roff(head.partition('Conventions\n')[2]), '.fi']
    for section in sections:
        out.append(f'.SH {section.name.upper()}')
        for words in section.words:
            out += ['.nf', roff(words), '.fi']
        for declaration in section.declarations:
            out += ['.PP', '.nf', '.ft B', roff(declaration.code), '.ft R', '.fi']
            if declaration.words:
                out += ['.RS 4', roff(declaration.words), '.RE'] if prose(declaration.words) else \
                    ['.RS 4', '.nf', roff(declaration.words), '.fi', '.RE']
    out += ['.SH SEE ALSO', '.BR syncengine (1)']
    return '\n'.join(out) + '\n'


if __name__ == '__main__':
    if sys.argv[1:] != ['man']:
        sys.exit(__doc__)
    sys.stdout.write(man())
