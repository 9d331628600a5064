"""packages - what is tested of the library as others get it: their build systems, the ABI, the Debian packages, the man
pages and the documentation site.

Each check is a function of (build, env) as in checks.py. What is installed goes below a folder of its own; nothing of the
machine is changed.
"""
import pathlib
import re
import shutil
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


def all_checks(build, env):
    """(name, function without arguments) of every check."""
    for check in (build_systems, cmake_versions, man_pages):
        yield check.__name__, lambda check=check: check(build, env)
