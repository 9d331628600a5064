"""checks - what is tested beside the test programs: the shape of the source, the libraries as others get them, the examples,
and that pages which are generated or quote code still fit.

Each check is a function of (build, env) that raises Failed with the reason, or returns a word on why it was skipped.
"""
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
HEADER = ROOT / 'include' / 'syncengine' / 'syncengine.h'
DATA = ROOT / 'examples' / 'data' / 'cities-20k.ndjson.zst'
DATA_LINES = 20000
STRICT = ['-Wall', '-Wextra', '-Wconversion', '-Wshadow', '-Werror', '-Wno-sign-conversion']

TEN_LINES = r'''
#include <syncengine/syncengine.h>
#include <stdio.h>
int main(void)
{
    se_config config;
    se_config_init(&config);
    se_engine *engine;
    se_item *item;
    if (se_open(&config, &engine) != SE_OK || se_submit(engine, "a", "b", 1, NULL) != SE_OK)
        return 1;
    if (se_get(engine, "a", &item) != SE_OK)
        return 2;
    printf("%.*s %s\n", (int)se_item_content_len(item), (const char *)se_item_content(item), se_library_version());
    se_item_release(item);
    return se_close(engine, 1000) == SE_OK ? 0 : 3;
}
'''


class Failed(Exception):
    """A check found what it looks for."""


def run(command, env, timeout=300, **more):
    """Runs a command that must succeed; returns what it printed."""
    done = subprocess.run([str(c) for c in command], cwd=more.pop('cwd', ROOT), env=env, timeout=timeout, text=True,
                          errors='replace', stdin=more.pop('stdin', subprocess.DEVNULL), stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, **more)
    if done.returncode != 0:
        raise Failed(f'{" ".join(map(str, command))}\nexit status {done.returncode}\n{done.stdout}')
    return done.stdout


def expect(condition, why):
    if not condition:
        raise Failed(why)


def flags(env, *packages):
    return run(['pkg-config', '--cflags', *packages], env).split()


def folder():
    return tempfile.TemporaryDirectory(prefix='syncengine-check-')


def compile_text(text, command, env, suffix='.c'):
    with folder() as place:
        source = pathlib.Path(place) / ('snippet' + suffix)
        source.write_text(text)
        run([*command, source], env)


# ---- the source ----


def layers(build, env):
    run([ROOT / 'tools' / 'check_layers.py'], env)


def layers_finds_breaks(build, env):
    """The checker itself: a tree with one break of each rule, each of which it must name."""
    breaks = {'item/a.c': ('#include "engine/engine.h"\n', 'item may not include engine/engine.h'),
              'item/b.c': ('#include "b.h"\n', 'write it with its room'),
              'flush/c.c': ('\n#include "wal/secret.h"\n', 'c.c:2: <sqlite3.h> through wal/secret.h'),
              'l1/d.c': ('void *f(void) { return calloc(1, 2); }\n', 'calloc()'),
              'l1/e.c': ('/* free(x) */ const char *f = "poll(1)"; int g(struct s *s) { return s->poll(1); }\n', None),
              'l2/f.c': ('#include <mysql.h>\n', '<mysql.h>: only'),
              'tier/g.c': ('int f(void) {\n return pthread_join(0); }\n', 'g.c:2: pthread_join()'),
              'nowhere/h.c': ('int a;\n', 'room nowhere is not in the table'),
              'wal/secret.h': ('#include <sqlite3.h>\n', None)}
    with folder() as place:
        tree = pathlib.Path(place)
        (tree / 'docs').mkdir()
        shutil.copy(ROOT / 'docs' / 'architecture.md', tree / 'docs')
        for name, (text, _) in breaks.items():
            (tree / 'src' / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / 'src' / name).write_text(text)
        done = subprocess.run([ROOT / 'tools' / 'check_layers.py', tree], env=env, text=True, stdout=subprocess.PIPE)
    expect(done.returncode == 1, f'exit status {done.returncode}\n{done.stdout}')
    for name, (_, words) in breaks.items():
        said = any(line.startswith(f'src/{name}:') and (not words or words in line) for line in done.stdout.splitlines())
        expect(said == bool(words), f'{name}: {"not " if words else ""}found\n{done.stdout}')


def headers_alone(build, env):
    """Every header of ours compiles as the only line of a file."""
    include = ['-Iinclude', '-Isrc', '-Itests', *flags(env, 'hiredis', 'libmariadb', 'sqlite3')]
    headers = sorted(p.relative_to(ROOT) for top in ('src', 'include') for p in (ROOT / top).rglob('*.h'))
    expect(len(headers) > 10, f'only {len(headers)} headers found')
    wrong = []
    for header in headers:
        try:
            run(['gcc', '-std=gnu11', '-D_GNU_SOURCE', '-fsyntax-only', *STRICT, *include, '-include', header, '-x', 'c',
                 '/dev/null'], env)
        except Failed as failure:
            wrong.append(str(failure))
    expect(not wrong, '\n'.join(wrong))


def public_header(build, env):
    """The public header needs nothing but the language: C11 and C++11, gcc and clang, pedantic."""
    for compiler, language, standard in (('gcc', 'c', 'c11'), ('clang', 'c', 'c11'), ('g++', 'c++', 'c++11'),
                                         ('clang++', 'c++', 'c++11')):
        run([compiler, f'-std={standard}', '-pedantic-errors', *STRICT, '-fsyntax-only', '-Iinclude', '-include',
             HEADER, '-x', language, '/dev/null'], env)


# ---- the libraries as others get them ----


def declared():
    """The functions that the public header promises."""
    text = re.sub(r'/\*.*?\*/', '', HEADER.read_text(), flags=re.S)
    return set(re.findall(r'^SE_API\b[^;(]*?\b(se_\w+)\(', text, re.M))


def symbols(env, library, *options):
    listing = run(['nm', '--defined-only', *options, library], env)
    return {line.split()[-1] for line in listing.splitlines() if len(line.split()) == 3}


def exported_symbols(build, env):
    """The shared library shows exactly the functions of the public header."""
    seen, promised = symbols(env, build / 'libsyncengine.so', '-D', '-g'), declared()
    expect(promised, 'no SE_API function found in the public header')
    expect(seen == promised, f'not exported: {sorted(promised - seen)}\nnot in the header: {sorted(seen - promised)}')


def static_symbols(build, env):
    """In the static library everything global bears our prefix, so that it meets nobody else's name."""
    strange = {s for s in symbols(env, build / 'libsyncengine.a', '-g') if not s.startswith(('se_', 'SE__'))}
    expect(not strange, f'global without se_, se__ or SE__: {sorted(strange)}')


def soname(build, env):
    text = run(['readelf', '-d', build / 'libsyncengine.so'], env)
    expect('[libsyncengine.so.0]' in text, f'soname is not libsyncengine.so.0\n{text}')


def install(build, env):
    """As a packager and a user: install into a folder, compile against it by pkg-config, shared, static and as C++, run."""
    with folder() as place:
        place = pathlib.Path(place)
        run(['meson', 'install', '-C', build, '--no-rebuild', '--quiet', '--destdir', place], env)
        found = list(place.rglob('syncengine.pc'))
        expect(len(found) == 1, f'pkg-config files: {found}')
        libdir = found[0].parent.parent
        env = env | {'PKG_CONFIG_PATH': str(found[0].parent), 'PKG_CONFIG_SYSROOT_DIR': str(place)}
        ask = ['pkg-config', 'syncengine']
        cflags = run([*ask, '--cflags'], env).split()
        libs = run([*ask, '--libs'], env).split()
        static = run([*ask, '--static', '--libs'], env).split()
        at = static.index('-lsyncengine')
        static[at:at + 1] = ['-Wl,-Bstatic', '-lsyncengine', '-Wl,-Bdynamic']
        for name, compiler, suffix, link in (('shared', 'gcc', '.c', libs), ('static', 'gcc', '.c', static),
                                             ('c++', 'g++', '.cc', libs)):
            source, program = place / (name + suffix), place / name
            source.write_text(TEN_LINES)
            run([compiler, *cflags, '-o', program, source, *link], env)
            loader = {} if name == 'static' else {'LD_LIBRARY_PATH': str(libdir)}
            said = run([program], env | loader)
            version = run(['pkg-config', '--modversion', 'syncengine'], env).strip()
            expect(said == f'b {version}\n', f'{name}: printed {said!r}')


# ---- the runner itself ----

FAULTS = {  # name: (stage, tests that the runner must count as passed and failed, body of the test file). A report counts as one failed.
    'leak': ('asan', (1, 1), 'Test(s, t) { char *volatile p = malloc(7); p[0] = 1; p = 0; }'),
    'overrun': ('asan', (0, 1), 'Test(s, t) { char *volatile p = malloc(7); p[7] = 1; free(p); }'),
    'undefined': ('asan', (0, 1), 'Test(s, t) { volatile int x = 2147483647; x++; }'),
    'clean': ('asan', (1, 0), 'Test(s, t) { free(malloc(7)); }'),
    'race': ('tsan', (1, 1), 'static int x; static void *f(void *a) { x++; return a; }\n'
             'Test(s, t) { pthread_t p; pthread_create(&p, 0, f, 0); x++; pthread_join(p, 0); }'),
    'fails': ('tsan', (1, 1), 'Test(s, a) { cr_assert_eq(1, 2, "no %d", 3); } Test(s, b) { cr_assert(1); }'),
    'in_order': ('tsan', (2, 0), 'static int n; static void up(void) { n++; } TestSuite(s, .init = up, .fini = up);\n'
                 'Test(s, b) { cr_assert_eq(n, 4); } Test(s, a, .init = up) { cr_assert_eq(n, 2); }'),
    'crash': ('plain', (1, 1), 'Test(s, a) { raise(SIGSEGV); } Test(s, b) {}'),
    'empty': ('plain', (0, 1), ''),
    'dies': ('plain', (0, 1), '__attribute__((constructor)) static void f(void) { _exit(0); }'),
    'hangs': ('plain', (0, 1), 'Test(s, t) { for (;;) pause(); }'),
}


def runner(build, env):
    """What the runner must notice, each made on purpose: or a green run would mean nothing."""
    import run as tests
    wrong = []
    with folder() as place:
        for name, (stage, wanted, body) in FAULTS.items():
            source, program = pathlib.Path(place) / f'{name}.c', pathlib.Path(place) / name
            source.write_text('#include "support/test.h"\n#include <pthread.h>\n#include <signal.h>\n'
                              '#include <stdlib.h>\n#include <unistd.h>\n' + body + '\n')
            how = {'plain': ['-lcriterion'], 'asan': ['-fsanitize=address,undefined', *tests.SANITIZE_C_ARGS.split(),
                                                      '-lcriterion'],
                   'tsan': ['-fsanitize=thread', '-DSE_TEST_ONE_PROCESS', 'tests/support/one_process.c']}[stage]
            run(['gcc', '-g', '-Itests', '-o', program, source, *how], env)
            seconds = 3 if name == 'hangs' else 60
            count, _, _ = tests.run_program(stage, f'runner_{name}', [str(program)], {}, {'plain'}, seconds)
            if (count.passed, count.failed) != wanted:
                wrong.append(f'{name}: counted {count}, not {wanted}')
    expect(not wrong, '\n'.join(wrong))


# ---- examples ----


def quickstart(build, env):
    """The README's main job: load, then read back in another process; and a copy that is wrong is not called right."""
    program = build / 'examples' / 'quickstart'
    with folder() as place:
        file = pathlib.Path(place) / 'cities.db'
        run([program, 'load', DATA, file], env)
        said = run([program, 'check', DATA, file], env)
        expect(f'the file holds {DATA_LINES} items' in said and ' 0 differ' in said, said)
        import sqlite3
        with sqlite3.connect(file) as database:
            rows = database.execute('select count(*) from sync_items').fetchone()[0]
            database.execute('delete from sync_items where rowid = (select min(rowid) from sync_items)')
        database.close()
        expect(rows == DATA_LINES, f'{rows} rows')
        wrong = subprocess.run([program, 'check', DATA, file], env=env, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True)
        expect(wrong.returncode == 1, f'a missing row was not noticed\n{wrong.stdout}')


def with_servers(build, env, example):
    program, servers = build / 'examples' / example, build / 'tests' / 'with_servers'
    return run([servers, program], env)


def cache_aside(build, env):
    run([build / 'examples' / 'cache_aside'], env)


def write_behind(build, env):
    with_servers(build, env, 'write_behind')


# ---- pages ----


def generated_page(build, env, topic):
    page = ROOT / 'docs' / f'{topic}.md'
    said = run([build / 'tools' / 'syncengine', 'docs', topic], env)
    expect(said.strip(), 'the tool printed nothing')
    expect(page.exists() and page.read_text() == said,
           f'docs/{topic}.md is not what the table says: syncengine docs {topic} > docs/{topic}.md')


def configuration_page(build, env):
    generated_page(build, env, 'configuration')


def metrics_page(build, env):
    generated_page(build, env, 'metrics')


def log_page(build, env):
    """docs/logging.md names exactly the events that the source has."""
    found = {f'{c}.{e}' for path in (ROOT / 'src').rglob('*.c')
             for c, e in re.findall(r'se__log\([^,]+,\s+SE_LOG_\w+,\s+"([a-z0-9_]+)\.([a-z0-9_]+)"', path.read_text())}
    calls = sum(len(re.findall(r'\bse__log\(', path.read_text())) for path in (ROOT / 'src').rglob('*.c')) - 1
    listed = {f'{c}.{e}' for c, e in re.findall(r'^\| `(\w+)` \| `(\w+)` \|', (ROOT / 'docs' / 'logging.md').read_text(), re.M)}
    expect(len(found) > 30 and calls >= len(found), f'{len(found)} events in {calls} calls')
    expect(found == listed, f'in one of source and docs/logging.md only: {sorted(found ^ listed)}')


def python_declarations(build, env):
    """What the Python bindings tell cffi is what the header says."""
    folder = ROOT / 'bindings' / 'python'
    said = run(['/usr/bin/python3', folder / 'make_cdef.py'], env)
    expect((folder / 'syncengine' / '_cdef.py').read_text() == said,
           'bindings/python: make_cdef.py > syncengine/_cdef.py')


def pages():
    return [*ROOT.glob('*.md'), *(ROOT / 'docs').glob('*.md'), *(ROOT / 'examples').rglob('*.md')]


def snippets(build, env):
    """Whole programs in the pages compile, and the README's runs as well."""
    whole = [(page, text) for page in pages() for text in re.findall(r'^```c\n(.*?)^```', page.read_text(), re.S | re.M)
             if 'int main(' in text]
    expect(any(page.name == 'README.md' for page, _ in whole), 'the README has no program')
    for page, text in whole:
        with folder() as place:
            source, program = pathlib.Path(place) / 'snippet.c', pathlib.Path(place) / 'snippet'
            source.write_text(text)
            run(['gcc', *STRICT, '-Iinclude', '-o', program, source, f'-L{build}', '-lsyncengine'], env)
            if page.name == 'README.md':
                run([program], env | {'LD_LIBRARY_PATH': str(build)}, cwd=place)


def links(build, env):
    """Relative links in the pages lead somewhere."""
    broken = [f'{page.relative_to(ROOT)}: {target}' for page in pages()
              for target in re.findall(r'\]\(([^)#\s]+)[^)]*\)', page.read_text())
              if not re.match(r'[a-z]+:', target) and not (page.parent / target).exists()]
    expect(not broken, '\n'.join(broken))


def two_commands(build, env):
    """`## Quick start` shows exactly two commands, both there; CI calls the second."""
    section = re.search(r'^## Quick start$(.*?)^## ', (ROOT / 'README.md').read_text(), re.S | re.M)
    expect(section, 'the README has no section "## Quick start"')
    blocks = re.findall(r'^```\w*\n(.*?)^```', section[1], re.S | re.M)
    commands = [line for block in blocks for line in block.splitlines() if line.strip()]
    expect(len(blocks) == 1 and len(commands) == 2, f'{len(blocks)} code blocks, commands {commands}')
    for command in commands:
        expect(os.access(ROOT / command.split()[0], os.X_OK), f'{command}: no such program')
    expect(commands[1] in (ROOT / '.ci' / 'run').read_text(), f'.ci/run does not call {commands[1]}')


def scripts(build, env):
    for script in ('setup', 'quickstart', 'test', 'package', 'common.sh'):
        run(['sh', '-n', ROOT / 'scripts' / script], env)


def all_checks(build, env):
    """(name, function without arguments) of every check."""
    checks = [layers, layers_finds_breaks, headers_alone, public_header, exported_symbols, static_symbols, soname, install,
              runner, quickstart, cache_aside, write_behind, configuration_page, metrics_page, log_page, python_declarations, snippets, links, two_commands,
              scripts]
    for check in checks:
        yield check.__name__, lambda check=check: check(build, env)
