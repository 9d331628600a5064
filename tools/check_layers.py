#!/usr/bin/python3
"""check_layers - holds src/ to the tables in docs/architecture.md: who may include and call whom.

    tools/check_layers.py [ROOT]

Three tables are read, each found by its first heading cell:

  | room | may include | ...
        a room's files include headers of itself and of these rooms; the order of the rows is the
        order of the rooms, and a row may only name rows above it
  | outside header | only in | seen through |
        who may include a library's header; nobody else may see it through a header of ours
        either, but for the headers in the last column
  | call | only in |
        who may call a function; `pthread_*` stands for all that begin so

Paths are relative to src/ and may use * as in the shell. Exit status 1 and file:line for every
break.
"""
import fnmatch
import pathlib
import re
import sys

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
NOISE = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', re.S)


def cells_of(line):
    return [cell.strip() for cell in line.strip().strip('|').split('|')]


def names_in(cell):
    return re.findall(r'`([^`]+)`', cell)


def table(text, heading):
    """The rows below the table line whose first cell is `heading`, as lists of cells."""
    lines = text.splitlines()
    starts = [n for n, line in enumerate(lines)
              if line.startswith('|') and cells_of(line)[0] == heading]
    if not starts:
        sys.exit(f'docs/architecture.md: no table "{heading}"')
    rows = []
    for line in lines[starts[0] + 2:]:
        if not line.startswith('|'):
            break
        rows.append(cells_of(line))
    return rows


def read_rooms(text):
    """{room: rooms it may include}; refuses a row that looks back."""
    rooms = {}
    for cells in table(text, 'room'):
        name, allowed = names_in(cells[0])[0], names_in(cells[1])
        for room in allowed:
            if room not in rooms:
                sys.exit(f'docs/architecture.md: {name} may not include {room}: it is not above it')
        rooms[name] = set(allowed) | {name}
    return rooms


def read_rules(text, heading):
    """Rows as lists of the names in each cell."""
    return [[names_in(cell) for cell in cells] for cells in table(text, heading)]


class File:
    """A source file: its includes with their lines, its code without comments and strings."""

    def __init__(self, src, path):
        self.name = str(path.relative_to(src))
        self.room = self.name.split('/')[0]
        text = path.read_text()
        self.includes = [(number, found[1] == '<', found[2])
                         for number, line in enumerate(text.splitlines(), 1)
                         if (found := INCLUDE.match(line))]
        self.code = NOISE.sub(lambda m: re.sub(r'[^\n]', ' ', m[0]), text)


def matches(name, paths):
    return any(fnmatch.fnmatch(name, path) for path in paths)


def check_rooms(file, rooms):
    if file.room not in rooms:
        yield 1, f'room {file.room} is not in the table'
        return
    for line, outside, header in file.includes:
        if outside:
            continue
        if '/' not in header:
            yield line, f'"{header}": write it with its room, "{file.room}/{header}"'
        elif header.split('/')[0] not in rooms[file.room]:
            yield line, f'{file.room} may not include {header}'


def seen_by(file, files, way, done):
    """Outside headers that a file sees: (line of the first file, header, our headers on the way)."""
    for line, outside, header in file.includes:
        if outside:
            yield line, header, way
        elif header in files and header not in done:
            done.add(header)
            for _, deeper, deeper_way in seen_by(files[header], files, way + [header], done):
                yield line, deeper, deeper_way


def check_outside(file, files, rules):
    for line, header, way in seen_by(file, files, [], {file.name}):
        for headers, paths, gates in rules:
            if (matches(header, headers) and not matches(file.name, paths)
                    and not set(way) & set(gates)):
                through = ''.join(f' through {h}' for h in way)
                yield line, f'<{header}>{through}: only {", ".join(paths)} may see it'


def check_calls(file, rules):
    for names, paths in rules:
        if matches(file.name, paths):
            continue
        pattern = '|'.join(re.escape(name).replace(r'\*', r'\w+') for name in names)
        for found in re.finditer(rf'(?<![\w.>])({pattern})\s*\(', file.code):
            line = file.code.count('\n', 0, found.start()) + 1
            yield line, f'{found[1]}(): only {", ".join(paths)} may call it'


def main():
    here = pathlib.Path(__file__).resolve().parent.parent
    root = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else here
    src = root / 'src'
    text = (root / 'docs' / 'architecture.md').read_text()
    rooms = read_rooms(text)
    outside, calls = read_rules(text, 'outside header'), read_rules(text, 'call')
    files = {f.name: f for f in (File(src, p) for p in sorted(src.rglob('*.[ch]')))}
    breaks = 0
    for file in files.values():
        for line, what in sorted([*check_rooms(file, rooms), *check_outside(file, files, outside),
                                  *check_calls(file, calls)]):
            print(f'src/{file.name}:{line}: {what}')
            breaks += 1
    print(f'{len(files)} files, {breaks} breaks of the rules in docs/architecture.md')
    return 1 if breaks or not files else 0


if __name__ == '__main__':
    sys.exit(main())
