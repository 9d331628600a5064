#!/usr/bin/python3
"""make_cdef - what cffi is told of the library, made of the public header, so that the two cannot differ.

    make_cdef.py [header]      prints syncengine/_cdef.py

tests/checks.py compares the result with what is committed.
"""
import pathlib
import re
import sys

HEADER = pathlib.Path(__file__).resolve().parents[2] / 'include' / 'syncengine' / 'syncengine.h'


def declarations(text):
    text = re.sub(r'/\*.*?\*/', ' ', text, flags=re.S)
    numbers = re.findall(r'^#define (SE_\w+) (\d+)u?\s*$', text, re.M)
    text = re.sub(r'^\s*#.*$', '', text, flags=re.M)
    text = re.sub(r'extern "C" \{|^\}\s*$', '', text, flags=re.M)
    text = re.sub(r'static inline [^{;]*\{[^}]*\}', '', text)
    text = text.replace('SE_API ', '')
    for name, number in numbers:
        text = re.sub(rf'\[{name}\]', f'[{number}]', text)
    text = re.sub(r'\s+', ' ', text)
    lines, depth, line = [], 0, ''
    for c in text:
        depth += (c == '{') - (c == '}')
        line += c
        if c == ';' and depth == 0:
            lines.append(line.strip())
            line = ''
    if line.strip():
        raise SystemExit(f'left over: {line.strip()[:200]}')
    return [f'#define {name} {number}' for name, number in numbers] + lines


def main():
    header = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else HEADER
    body = '\n'.join(declarations(header.read_text()))
    print('"""What cffi is told of the library. Generated from the public header by make_cdef.py; do not edit."""\n')
    print(f'CDEF = r"""\n{body}\n"""')


if __name__ == '__main__':
    main()
