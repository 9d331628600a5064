"""packages - what is tested of the library as others get it: their build systems, the ABI, the Debian packages, the man
pages and the documentation site.

Each check is a function of (build, env) as in checks.py. What is installed goes below a folder of its own; nothing of the
machine is changed.
"""
import pathlib
import re
import subprocess
import sys

from checks import Failed, ROOT, TEN_LINES, expect, folder, run

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
    'a field at the end of a struct that knows its size': ('    se_compression sql_compression;', '    se_compression sql_compression; int more;', True),
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
        env = env | {'DEB_BUILD_OPTIONS': 'parallel=2 noautodbgsym'}
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


def all_checks(build, env):
    """(name, function without arguments) of every check."""
    for check in (build_systems, cmake_versions, man_pages, abi, abi_notices, debian_packages):
        yield check.__name__, lambda check=check: check(build, env)
