"""packages - what is tested of the library as others get it: their build systems, the ABI, the Debian packages, the man
pages and the documentation site.

Each check is a function of (build, env) as in checks.py. What is installed goes below a folder of its own; nothing of the
machine is changed.
"""
import json
import pathlib
import re
import shutil
import subprocess
import sys

from checks import Failed, ROOT, STRICT, TEN_LINES, expect, folder, run

VERSION = re.search(r"version: '([\d.]+)'", (ROOT / 'meson.build').read_text())[1]

# ---- installed, and found by three build systems ----

CMAKE_PROJECT = '''cmake_minimum_required(VERSION 3.16)
project(ten C)
find_package(syncengine 0.1 REQUIRED)
add_executable(ten ten.c)
target_link_libraries(ten PRIVATE syncengine::syncengine)
'''
CMAKE_OF_CXX = CMAKE_PROJECT.replace('project(ten C)', 'project(ten CXX)').replace('ten.c)', 'ten.cc)')
MESON_PROJECT = '''project('ten', 'c')
executable('ten', 'ten.c', dependencies: dependency('syncengine', version: '>=0.1'))
'''
MAKE_PROJECT = '''CFLAGS += $(shell pkg-config --cflags syncengine)
LDLIBS += $(shell pkg-config --libs syncengine)
ten: ten.c
'''


def installed(build, env, place):
    """Installs below place. Returns its library folder and an environment in which it is found."""
    run(['meson', 'install', '-C', build, '--no-rebuild', '--quiet', '--destdir', place], env)
    (pc,) = place.rglob('syncengine.pc')
    libdir = pc.parent.parent
    return libdir, env | {'PKG_CONFIG_PATH': str(pc.parent), 'PKG_CONFIG_SYSROOT_DIR': str(place),
                          'CMAKE_PREFIX_PATH': str(place / 'usr' / 'local'), 'LD_LIBRARY_PATH': str(libdir)}


def says_ten(program, env):
    said = run([program], env)
    expect(said == f'b {VERSION}\n', f'{program.name}: printed {said!r}')


def project(place, **files):
    place.mkdir()
    for name, text in files.items():
        (place / name.replace('__', '.')).write_text(text)
    return place


def build_systems(build, env):
    """meson install, then a CMake, a Meson and a make project of a few lines each, and uninstall, which leaves no file."""
    with folder() as place:
        place = pathlib.Path(place)
        root = place / 'root'
        libdir, there = installed(build, env, root)
        for name, files in (('cmake', {'CMakeLists__txt': CMAKE_PROJECT, 'ten__c': TEN_LINES}),
                            ('cmake_cxx', {'CMakeLists__txt': CMAKE_OF_CXX, 'ten__cc': TEN_LINES})):
            home = project(place / name, **files)
            run(['cmake', '-S', home, '-B', home / 'b', '-DCMAKE_BUILD_TYPE=Release'], there)
            run(['cmake', '--build', home / 'b'], there)
            says_ten(home / 'b' / 'ten', there)
        home = project(place / 'meson', meson__build=MESON_PROJECT, ten__c=TEN_LINES)
        run(['meson', 'setup', home / 'b', home], there)
        run(['ninja', '-C', home / 'b'], there)
        says_ten(home / 'b' / 'ten', there)
        home = project(place / 'make', Makefile=MAKE_PROJECT, ten__c=TEN_LINES)
        run(['make', '-C', home], there)
        says_ten(home / 'ten', there)
        wanted = {'syncengine.h', 'libsyncengine.so', 'libsyncengine.so.0', 'libsyncengine.a', 'syncengine.pc', 'syncengine',
                  'syncengine-config.cmake', 'syncengine-config-version.cmake', 'syncengine.1', 'syncengine.3'}
        found = {path.name for path in root.rglob('*') if not path.is_dir()}
        expect(wanted <= found, f'not installed: {sorted(wanted - found)}')
        run(['ninja', '-C', build, 'uninstall'], env)
        left = [str(path) for path in root.rglob('*') if not path.is_dir()]
        expect(not left, f'left behind by uninstall: {left}')


def cmake_versions(build, env):
    """find_package(syncengine VERSION) takes what fits and refuses the rest, and a half installation is not found."""
    with folder() as place:
        place = pathlib.Path(place)
        libdir, there = installed(build, env, place / 'root')
        for wanted, fits in (('', True), (VERSION + ' EXACT', True), ('0.2', False), ('0.0.1', False)):
            home = project(place / ('v' + re.sub(r'\W', '_', wanted)), CMakeLists__txt=CMAKE_PROJECT.replace('0.1', wanted),
                           ten__c=TEN_LINES)
            done = subprocess.run(['cmake', '-S', home, '-B', home / 'b'], env=there, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True)
            expect((done.returncode == 0) == fits, f'find_package(syncengine {wanted}): {done.stdout}')
        (libdir / 'libsyncengine.so').unlink()
        home = place / 'v'
        done = subprocess.run(['cmake', '-S', home, '-B', home / 'c'], env=there, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
        expect(done.returncode != 0 and 'is missing beside' in done.stdout, done.stdout)


# ---- man pages ----


def man_pages(build, env):
    """Both are what the tables and the header say today, and roff has nothing to complain about."""
    for page, command in (('syncengine.1', [build / 'tools' / 'syncengine', 'docs', 'man']),
                          ('syncengine.3', [sys.executable, 'site/header.py', 'man'])):
        said = run(command, env)
        expect((ROOT / 'man' / page).read_text() == said,
               f'man/{page} is not up to date: {" ".join(map(str, command))} > man/{page}')
        words = run(['groff', '-man', '-ww', '-Tutf8', '-z', ROOT / 'man' / page], env)
        expect(not words.strip(), f'man/{page}: {words}')


# ---- the ABI ----

ABI_CHANGES = {  # what is done to the header: (before, after, is it allowed)
    'a field at the end of a struct that knows its size':
    ('    se_log_event_fn log_event_fn;', '    se_log_event_fn log_event_fn; int more;', True),
    'a field in its middle': ('    uint32_t flush_workers;', '    uint64_t more; uint32_t flush_workers;', False),
    'another field at the end of one that does not': ('} se_batch_result;', 'int more; } se_batch_result;', False),
    'a wider argument': ('se_close(se_engine *engine, uint32_t', 'se_close(se_engine *engine, uint64_t', False),
    'a result with another number': ('SE_ERR_ABORTED = -12', 'SE_ERR_ABORTED = -13', False),
    'a function taken away': ('SE_API bool se_is_empty(', 'bool se_is_empty(', False),
}


def abi(build, env):
    """A program linked against the last release still works with this library."""
    run([ROOT / 'scripts' / 'abi', build / 'libsyncengine.so'], env)


def abi_notices(build, env):
    """The check itself: it goes red on what breaks programs, and not on what the header allows itself."""
    text = (ROOT / 'include' / 'syncengine' / 'syncengine.h').read_text()
    for name, (before, after, allowed) in ABI_CHANGES.items():
        expect(text.count(before) == 1, f'{name}: the header has no single "{before}"')
        with folder() as place:
            home = pathlib.Path(place) / 'syncengine'
            home.mkdir()
            (home / 'syncengine.h').write_text(text.replace(before, after))
            done = subprocess.run([ROOT / 'scripts' / 'abi', '--include', place, build / 'libsyncengine.so'], env=env, text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        expect((done.returncode == 0) == allowed, f'{name}: exit status {done.returncode}\n{done.stdout}')


# ---- Debian packages ----

DEBS = {'libsyncengine0': ['usr/lib/*/libsyncengine.so.0'],
        'libsyncengine-dev': ['usr/include/syncengine/syncengine.h', 'usr/lib/*/libsyncengine.a', 'usr/lib/*/libsyncengine.so',
                              'usr/lib/*/pkgconfig/syncengine.pc', 'usr/lib/*/cmake/syncengine/syncengine-config.cmake',
                              'usr/share/man/man3/syncengine.3.gz'],
        'syncengine-tools': ['usr/bin/syncengine', 'usr/share/man/man1/syncengine.1.gz']}


def debian_packages(build, env):
    """One command builds them and lintian is content; unpacked, they make and run a program."""
    with folder() as place:
        place = pathlib.Path(place)
        # Not what is shipped, but the same packages in half the time.
        env = env | {'DEB_BUILD_OPTIONS': 'parallel=2 noautodbgsym', 'DEB_CFLAGS_APPEND': '-O1 -g0'}
        said = run([ROOT / 'scripts' / 'package', place / 'debs'], env, timeout=600)
        expect(not re.search(r'^[EW]: ', said, re.M), said)
        root = place / 'root'
        for name, files in DEBS.items():
            found = list((place / 'debs').glob(f'{name}_*.deb'))
            expect(len(found) == 1, f'{name}: {found}')
            before = set(root.rglob('*'))
            run(['dpkg-deb', '-x', found[0], root], env)
            new = {path for path in root.rglob('*')} - before
            for file in files:
                expect(any(path in new for path in root.glob(file)), f'{name}: no {file}')
        said = run(['dpkg-deb', '-f', next((place / 'debs').glob('syncengine-tools_*.deb')), 'Depends'], env)
        expect('libhiredis' in said, f'syncengine-tools depends on {said}')
        (libdir,) = {path.parent for path in root.glob('usr/lib/*/libsyncengine.so')}
        there = env | {'PKG_CONFIG_PATH': str(libdir / 'pkgconfig'), 'PKG_CONFIG_SYSROOT_DIR': str(root),
                       'LD_LIBRARY_PATH': str(libdir)}
        home = project(place / 'make', Makefile=MAKE_PROJECT, ten__c=TEN_LINES)
        run(['make', '-C', home], there)
        says_ten(home / 'ten', there)
        expect(run([root / 'usr/bin/syncengine', 'version'], env) == f'syncengine {VERSION}\n', 'the tool')


# ---- the documentation site ----

PRELUDE = '#include <inttypes.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include <time.h>\n' \
          '#include <syncengine/syncengine.h>\n'


def guides():
    return [*sorted((ROOT / 'site' / 'guides').glob('*.md')), ROOT / 'site' / 'index.md', ROOT / 'examples' / 'service' / 'README.md']


def whole(text):
    """A snippet as a file: a program as it is, functions behind the includes, statements in a function with an engine."""
    if 'int main(' in text:
        return text
    if re.search(r'^\w[^;={}]*\)\n\{', text, re.M):
        return PRELUDE + text
    return PRELUDE + 'int snippet(se_engine *engine, const char *id, const void *content, size_t len);\n' \
        'int snippet(se_engine *engine, const char *id, const void *content, size_t len)\n{\n' \
        '(void)engine, (void)id, (void)content, (void)len;\n' + text + '\nreturn 0;\n}\n'


def guide_snippets(build, env):
    """Every block of C in the guides compiles without a warning; programs run, too."""
    count, programs, wrong = 0, 0, []
    for page in guides():
        for text in re.findall(r'^```c\n(.*?)^```', page.read_text(), re.S | re.M):
            count += 1
            with folder() as place:
                source, program = pathlib.Path(place) / 'snippet.c', pathlib.Path(place) / 'snippet'
                source.write_text(whole(text))
                # A function of a snippet that nobody calls, and a variable that it only shows, are no mistakes.
                how = [*STRICT, '-Wno-unused', '-Wno-unused-but-set-variable', '-Iinclude']
                try:
                    if 'int main(' in text:
                        programs += 1
                        run(['gcc', *how, '-o', program, source, f'-L{build}', '-lsyncengine'], env)
                        run([program], env | {'LD_LIBRARY_PATH': str(build)}, cwd=place)
                    else:
                        run(['gcc', *how, '-fsyntax-only', source], env)
                except Failed as failure:
                    wrong.append(f'{page.name}: {failure}')
    expect(not wrong, '\n'.join(wrong))
    expect(count >= 15 and programs >= 1, f'only {count} snippets, {programs} programs')


def guide_names(build, env):
    """Options, metrics and commands that the guides name are there."""
    tables = '\n'.join((ROOT / 'docs' / f'{name}.md').read_text() for name in ('configuration', 'metrics', 'tool', 'http'))
    header = (ROOT / 'include' / 'syncengine' / 'syncengine.h').read_text()
    commands = run([build / 'tools' / 'syncengine', 'docs', 'tool'], env)
    wrong = []
    for page in guides():
        text = page.read_text()
        for name in set(re.findall(r'\bsync_engine_\w+', text)):
            known = re.sub(r'_(sum|count|bucket)$', '', name)
            if f'`{name}`' not in tables and f'`{known}`' not in tables:
                wrong.append(f'{page.name}: no metric {name}')
        for name in set(re.findall(r'\bSYNC_ENGINE_(\w+)', text)):
            if f'`{name.lower()}`' not in tables:
                wrong.append(f'{page.name}: no option {name}')
        for name in set(re.findall(r'\b(se_[a-z_]+)\(', text)) | set(re.findall(r'\bSE_[A-Z][A-Z0-9_]+\b', text)):
            if name not in header and not name.endswith('_'):
                wrong.append(f'{page.name}: {name} is not in the header')
        for name in set(re.findall(r'^syncengine ((?:wal )?[a-z]+)', text, re.M)):
            if f'### `syncengine {name}' not in commands:
                wrong.append(f'{page.name}: no command {name}')
    expect(not wrong, '\n'.join(wrong))


def site(build, env):
    """One command makes it, and every link of it leads somewhere."""
    with folder() as place:
        run([ROOT / 'site' / 'build', f'{place}/site'], env)
        run([ROOT / 'site' / 'check', f'{place}/site'], env)


PROBE = """<!DOCTYPE html><meta charset="utf-8"><body><script>
const pages = %s, report = document.createElement('pre');
async function look() {
  for (const width of [390, 1280]) for (const page of pages) {
    const frame = document.createElement('iframe');
    frame.style.cssText = `width:${width}px;height:800px;border:0`;
    frame.src = page;
    await new Promise(done => { frame.onload = done; document.body.append(frame); });
    const root = frame.contentDocument.documentElement, found = frame.contentDocument.getElementById('search');
    report.textContent += `${page} ${width} ${root.scrollWidth <= width && found ? 'fits' : 'is ' + root.scrollWidth + ' wide'}\\n`;
    frame.remove();
  }
  report.textContent += 'done\\n';
}
look().finally(() => document.body.append(report));
</script>"""


def site_in_a_browser(build, env):
    """In Chromium, where it is installed: no page is wider than a phone or a desktop window."""
    chromium = shutil.which('chromium')
    if not chromium:
        return 'chromium is not installed'
    with folder() as place:
        root = pathlib.Path(place) / 'site'
        run([ROOT / 'site' / 'build', root], env)
        pages = sorted(path.name for path in root.glob('*.html'))
        (root / 'probe.html').write_text(PROBE % json.dumps(pages))
        said = subprocess.run([chromium, '--headless=new', '--no-sandbox', '--disable-gpu', '--allow-file-access-from-files',
                               f'--user-data-dir={place}/profile', '--virtual-time-budget=60000', '--dump-dom',
                               root / 'probe.html'], env=env, timeout=120, text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL).stdout
    expect('\ndone\n' in said, f'the probe did not end\n{said[-2000:]}')
    wide = re.findall(r'^(?:.*<pre>)?(\S+ \d+ is .*)$', said, re.M)
    expect(not wide and said.count(' fits') == 2 * len(pages), '\n'.join(wide))
    return None


# ---- units ----


def units(build, env):
    """systemd can read the units; the compose file is one, and its variables are the tools' own."""
    if shutil.which('systemd-analyze', path=env['PATH']):
        with folder() as place:
            for unit in (ROOT / 'packaging' / 'systemd').glob('*.service'):
                # The programs are not installed here: what is checked is every other line.
                text = re.sub(r'^ExecStart=\S+', 'ExecStart=/bin/true', unit.read_text(), flags=re.M)
                (pathlib.Path(place) / unit.name).write_text(text)
            said = run(['systemd-analyze', 'verify', '--man=no', *pathlib.Path(place).glob('*.service')], env)
            expect(not said.strip(), said)
    known = (ROOT / 'docs' / 'configuration.md').read_text()
    for file in (ROOT / 'packaging').rglob('*.*'):
        for name in set(re.findall(r'SYNC_ENGINE_(\w+)', file.read_text())):
            expect(f'`{name.lower()}`' in known, f'{file.name}: no option {name}')


def all_checks(build, env):
    """(name, function without arguments) of every check."""
    for check in (build_systems, cmake_versions, man_pages, abi, abi_notices, debian_packages, guide_snippets, guide_names,
                  site, site_in_a_browser, units):
        yield check.__name__, lambda check=check: check(build, env)
