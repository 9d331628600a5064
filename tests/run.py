#!/usr/bin/python3
"""run - builds the project in several ways, runs the tests of each and adds them up.

Stages:
  plain   gcc; every test program on Criterion
  checks  tests/checks.py: layers, headers, symbols, install, examples, generated pages
  package tests/packages.py: other people's build systems, the ABI, the Debian packages, the documentation site
  clang   clang with warnings as errors: build only
  asan    AddressSanitizer, LeakSanitizer, UndefinedBehaviorSanitizer: any report fails the program
  tsan    ThreadSanitizer over tests/support/one_process.h, without the programs marked 'forks'
  ops     tests/ops/test_ops.py: the rules and the dashboard of ops/ against a real Prometheus, a service under load, outages
  fuzz    clang; every decoder under libFuzzer, AddressSanitizer and UndefinedBehaviorSanitizer: a fixed number of runs from
          the committed corpus, with a fixed seed; a program counts as one test
  valgrind  the examples of the plain build under valgrind's memcheck, with servers where they use some: an error or a
          leak fails the example; the sample service is asked by its own tests meanwhile
  python  the bindings' tests (pytest), against the plain build as `meson install` puts it into a folder

Every test counts once a stage. A program that ends badly, reports nothing or runs no test counts as one failed test: an
empty run is no success. What a failing program printed is shown; everything is kept in build/logs.

Exit status 0 only if nothing failed.
"""
import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / 'build'
LOGS = BUILD / 'logs'
SUPPRESSIONS = ROOT / 'tests' / 'support'
SHOWN_LINES = 80

SANITIZE_C_ARGS = '-fno-sanitize-recover=all -fno-omit-frame-pointer'
STAGES = {
    'plain': {'options': ['-Dwerror=true'], 'seconds': 300},
    'checks': {'build': 'plain'},
    'package': {'build': 'plain'},
    'clang': {'options': [], 'env': {'CC': 'clang'}, 'programs': False},
    'asan': {'options': ['-Db_sanitize=address,undefined', '-Db_lundef=false', '-Doptimization=1',
                         f'-Dc_args={SANITIZE_C_ARGS}'], 'seconds': 900},
    'tsan': {'options': ['-Db_sanitize=thread', '-Db_lundef=false', '-Doptimization=1', '-Done_process=true'],
             'seconds': 900},
    'ops': {'build': 'plain', 'seconds': 240},
    'fuzz': {'options': ['-Dfuzz=enabled'], 'env': {'CC': 'clang'}, 'targets': ['fuzzers'], 'seconds': 300},
    'valgrind': {'build': 'plain', 'seconds': 300},
    'python': {'build': 'plain', 'seconds': 120},
}
# Runs and the longest input: 1 to 5 s each on a machine with nothing else to do. tests/long/fuzz runs them for longer.
FUZZ_RUNS = {
    'fuzz_id': (200_000, 512), 'fuzz_input': (50_000, 512), 'fuzz_json': (400_000, 512), 'fuzz_meta': (150_000, 512),
    'fuzz_ndjson': (60_000, 300), 'fuzz_options': (60_000, 128), 'fuzz_packing': (300_000, 4096), 'fuzz_pages': (80_000, 4096),
    'fuzz_record': (400_000, 4096), 'fuzz_redis': (40_000, 300), 'fuzz_reply': (100_000, 4096), 'fuzz_row': (150_000, 400),
    'fuzz_snapshot': (40_000, 4096), 'fuzz_sqlite': (25_000, 200), 'fuzz_store': (60_000, 300), 'fuzz_tool': (60_000, 200),
    'fuzz_url': (400_000, 4096), 'fuzz_wal': (40_000, 300)}
CORPUS = ROOT / 'tests' / 'fuzz' / 'corpus'
CORPUS_LEAST = 10


running = set()  # sessions of test programs, ended with this one


class Count:
    """Passed, failed and skipped tests."""

    def __init__(self, passed=0, failed=0, skipped=0):
        self.passed, self.failed, self.skipped = passed, failed, skipped

    def add(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped

    def __str__(self):
        skipped = f', {self.skipped} skipped' if self.skipped else ''
        return f'{self.passed} passed, {self.failed} failed{skipped}'


def say(text):
    print(text, flush=True)


def tail(text, lines=SHOWN_LINES):
    kept = text.rstrip().splitlines()
    cut = [f'... ({len(kept) - lines} lines before, all in {LOGS})'] if len(kept) > lines else []
    return '\n'.join('    ' + line for line in cut + kept[-lines:])


def clean_environment():
    """The caller's environment without what would configure an engine or a sanitizer behind the tests' back."""
    env = {k: v for k, v in os.environ.items()
           if not k.startswith('SYNC_ENGINE_') and not re.fullmatch(r'(A|L|T|UB)SAN_OPTIONS|CFLAGS|LDFLAGS', k)}
    env['PATH'] = env.get('PATH', '/usr/bin:/bin') + ':/usr/local/sbin:/usr/sbin:/sbin'
    env['LC_ALL'] = 'C.UTF-8'
    return env


def build(stage):
    """Configures and builds build/<stage>. Returns False, having shown why, if that fails."""
    about = STAGES[stage]
    folder = BUILD / stage
    env = clean_environment() | about.get('env', {})
    setup = ['meson', 'setup', folder, '-Dtests=enabled', *about['options']]
    again = (folder / 'build.ninja').exists()
    if not again or not build_step(stage, [*setup, '--reconfigure'], env):
        shutil.rmtree(folder, ignore_errors=True)  # moved, half made, or made by another version of meson
        if not build_step(stage, setup, env):
            return show_log(stage, 'meson')
    ninja = ['ninja', '-k', '0', '-C', folder, *about.get('targets', [])]
    return build_step(stage, ninja, env) or show_log(stage, 'ninja')


def build_step(stage, command, env):
    with open(LOGS / f'{stage}-{command[0]}.log', 'wb') as log:
        return subprocess.run(command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=log,
                              stderr=subprocess.STDOUT).returncode == 0


def show_log(stage, tool):
    say(f'{stage}: {tool} failed')
    log = (LOGS / f'{stage}-{tool}.log').read_text(errors='replace')
    say(tail('\n'.join(line for line in log.splitlines() if not re.match(r'\[\d+/\d+\] ', line))))
    return False


def programs_of(stage):
    """What meson knows as tests of this build, as (name, command, environment, suites)."""
    listing = json.loads((BUILD / stage / 'meson-info' / 'intro-tests.json').read_text())
    for test in listing:
        suites = {s.split(':')[-1] for s in test['suite']}
        yield test['name'], test['cmd'], test['env'], suites


def sanitizer_environment(stage, report):
    """Reports go to files: a forked test's exit status does not tell of a leak, a file does."""
    if stage == 'asan':
        common = f'log_path={report}:print_stacktrace=1'
        return {'ASAN_OPTIONS': f'{common}:detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1',
                'UBSAN_OPTIONS': common,
                'LSAN_OPTIONS': f'suppressions={SUPPRESSIONS}/lsan.supp:print_suppressions=0'}
    if stage == 'tsan':
        return {'TSAN_OPTIONS': f'log_path={report}:suppressions={SUPPRESSIONS}/tsan.supp:second_deadlock_stack=1'}
    return {}


def run_bounded(command, env, seconds, out):
    """Runs a program in a session of its own, so that at its time limit all of it can be ended. Returns its status."""
    with open(out, 'wb') as sink:
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=sink,
                                   stderr=subprocess.STDOUT, start_new_session=True)
        running.add(process.pid)
        try:
            return process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return f'not done after {seconds} s'
        finally:
            running.discard(process.pid)


def count_criterion(path):
    """Counts the cases of Criterion's XML file; without a readable one nothing is counted."""
    try:
        cases = ElementTree.parse(path).getroot().iter('testcase')
    except (OSError, ElementTree.ParseError):
        return Count()
    count = Count()
    for case in cases:
        status = case.get('status')
        if status == 'PASSED':
            count.passed += 1
        elif status == 'SKIPPED':
            count.skipped += 1
        else:
            count.failed += 1
    return count


def count_one_process(text):
    last = re.findall(r'^(\d+) passed, (\d+) failed, (\d+) skipped$', text, re.M)
    return Count(*map(int, last[-1])) if last else Count()


def run_program(stage, name, command, env, suites, seconds=None):
    """Runs one test program. Returns its count, its report's lines and the seconds it took."""
    folder = LOGS / stage / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    out, xml = folder / 'output', folder / 'result.xml'
    script = not suites & {'plain', 'forks'}
    criterion = stage != 'tsan' and not script
    if criterion:
        command = command + [f'--xml={xml}']
    started = time.monotonic()
    env = clean_environment() | env | sanitizer_environment(stage, folder / 'report')
    status = run_bounded(command, env, seconds or STAGES[stage]['seconds'], out)
    took = time.monotonic() - started
    text = out.read_text(errors='replace')
    if script:
        count = Count(passed=1) if status == 0 else Count()
    else:
        count = count_criterion(xml) if criterion else count_one_process(text)
    problems = []
    for report in sorted(folder.glob('report*')):
        problems.append(report.read_text(errors='replace'))
    if status != 0 and count.failed == 0:
        problems.append(f'{name}: exit status {status}')
    if count.passed + count.failed + count.skipped == 0:
        problems.append(f'{name}: no test was run')
    if problems and count.failed == 0:
        count.failed = 1
    return count, ([text] if count.failed else []) + problems, took


def run_programs(stage, names, jobs):
    chosen = [p for p in programs_of(stage)
              if (not names or any(n in p[0] for n in names)) and not (stage == 'tsan' and 'plain' not in p[3])]
    total = Count()
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        jobs_of = {pool.submit(run_program, stage, *p): p[0] for p in chosen}
        for done in concurrent.futures.as_completed(jobs_of):
            count, trouble, took = done.result()
            total.add(count)
            say(f'  {stage:<6} {jobs_of[done]:<28} {count}  ({took:.1f} s)')
            for text in trouble:
                say(tail(text))
    if not chosen:
        say(f'  {stage}: no test program' + (f' is named like {" ".join(names)}' if names else ''))
        total.failed += 1
    return total


def run_checks(stage, names):
    import checks
    import packages
    module = packages if stage == 'package' else checks
    total = Count()
    for name, check in module.all_checks(BUILD / 'plain', clean_environment()):
        if names and not any(n in name for n in names):
            continue
        started = time.monotonic()
        try:
            skipped = check()
            count = Count(skipped=1) if skipped else Count(passed=1)
        except checks.Failed as failure:
            count, skipped = Count(failed=1), None
            say(tail(str(failure)))
        total.add(count)
        say(f'  {stage:<6} {name:<28} {skipped or count}  ({time.monotonic() - started:.1f} s)')
    return total


def run_ops():
    command = [ROOT / 'tests' / 'ops' / 'test_ops.py', BUILD / 'plain' / 'tests' / 'world',
               BUILD / 'plain' / 'tools' / 'syncengine']
    out = LOGS / 'ops'
    started = time.monotonic()
    status = run_bounded(command, clean_environment(), STAGES['ops']['seconds'], out)
    text = out.read_text(errors='replace')
    count = count_one_process(text)
    if (status != 0 or not count.passed + count.skipped) and not count.failed:
        count.failed = 1
    if count.failed:
        say(tail(f'{text}\nexit status {status}'))
    say(f'  ops    {"test_ops":<28} {count}  ({time.monotonic() - started:.1f} s)')
    return count


def run_fuzzer(name):
    """Fuzzes one decoder. Returns its count, its report's lines and the seconds it took, as run_program does."""
    folder = LOGS / 'fuzz' / name
    shutil.rmtree(folder, ignore_errors=True)
    (folder / 'new').mkdir(parents=True)  # libFuzzer adds what it finds to the first folder
    (runs, longest), out = FUZZ_RUNS[name], folder / 'output'
    command = [BUILD / 'fuzz' / 'tests' / 'fuzz' / name, f'-runs={runs}', '-seed=1', f'-max_len={longest}', '-timeout=10',
               '-rss_limit_mb=1024', f'-artifact_prefix={folder}/', folder / 'new', CORPUS / name]
    started = time.monotonic()
    status = run_bounded(command, clean_environment(), STAGES['fuzz']['seconds'], out)
    took = time.monotonic() - started
    text = out.read_text(errors='replace')
    done = re.search(r'^Done (\d+) runs', text, re.M)
    problems = []
    if status != 0:
        problems.append(f'{name}: exit status {status}; the input, if one was found, is in {folder}')
    elif not done or int(done[1]) < runs:
        problems.append(f'{name}: not {runs} runs')
    if len(list((CORPUS / name).glob('*'))) < CORPUS_LEAST:
        problems.append(f'{name}: its corpus has fewer than {CORPUS_LEAST} files')
    return Count(failed=1) if problems else Count(passed=1), [text, *problems] if problems else [], took


def seeds_are_committed():
    """The names of what tests/fuzz/seeds.c writes and the corpus lacks."""
    folder = LOGS / 'fuzz' / 'seeds'
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    status = run_bounded([BUILD / 'fuzz' / 'tests' / 'fuzz' / 'seeds', folder], clean_environment(), 60, LOGS / 'fuzz-seeds.log')
    seeds = {str(path.relative_to(folder)) for path in folder.glob('*/*')}
    missing = sorted(name for name in seeds if not (CORPUS / name).is_file())
    if status != 0 or not seeds:
        missing.append(f'seeds: exit status {status}, {len(seeds)} files')
    return missing


def run_fuzzers(names, jobs):
    chosen = [name for name in FUZZ_RUNS if not names or any(n in name for n in names)]
    total = Count()
    if missing := seeds_are_committed():
        say(tail('not in tests/fuzz/corpus, see CONTRIBUTING.md:\n' + '\n'.join(missing)))
    total.add(Count(failed=1) if missing else Count(passed=1))
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        jobs_of = {pool.submit(run_fuzzer, name): name for name in chosen}
        for done in concurrent.futures.as_completed(jobs_of):
            count, trouble, took = done.result()
            total.add(count)
            say(f'  fuzz   {jobs_of[done]:<28} {count}  ({took:.1f} s)')
            for text in trouble:
                say(tail(text))
    return total


VALGRIND = ['--quiet', '--error-exitcode=99', '--leak-check=full', '--show-leak-kinds=definite,indirect,possible',
            '--errors-for-leak-kinds=definite,indirect,possible', '--num-callers=30']
# Of each example the command lines, run one after the other in a folder of their own; the data's path takes the place of DATA.
VALGRIND_EXAMPLES = {
    'quickstart': [['quickstart', 'load', 'DATA', 'cities.db'], ['quickstart', 'check', 'DATA', 'cities.db']],
    'ten_lines': [['ten_lines']],
    'cache_aside': [['cache_aside']],
    'write_behind': [['write_behind']],
    'write_behind_servers': [['with_servers', 'write_behind']],
}
# Examples that are asked while they run: the test program that starts them by the command in SE_SERVICE_WRAPPER, a word a line.
VALGRIND_DRIVEN = {'service': 'integration_service'}


def valgrind_command(words):
    """The command line under valgrind; servers are not looked at."""
    built = BUILD / 'plain'
    before = [built / 'tests' / 'with_servers'] if words[0] == 'with_servers' else []
    program, *rest = words[len(before):]
    rest = [str(ROOT / 'examples' / 'data' / 'cities-20k.ndjson.zst') if word == 'DATA' else word for word in rest]
    return [*before, shutil.which('valgrind') or '/usr/bin/valgrind', *VALGRIND, built / 'examples' / program, *rest]


def run_example(name):
    """Runs one example under valgrind. Returns its count, its report's lines and the seconds it took."""
    folder = LOGS / 'valgrind' / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    started, problems = time.monotonic(), []
    for number, words in enumerate(VALGRIND_EXAMPLES[name]):
        out = folder / f'output{number}'
        command = ['env', '-C', folder, *valgrind_command(words)]
        status = run_bounded(command, clean_environment(), STAGES['valgrind']['seconds'], out)
        if status != 0 and not problems:
            problems = [out.read_text(errors='replace'), f'{" ".join(words)}: exit status {status}']
    return Count(failed=1) if problems else Count(passed=1), problems, time.monotonic() - started


def run_driven_example(name):
    """Runs an example under valgrind as its test program does. Its tests count; a report of valgrind's fails them."""
    _, command, env, suites = next(p for p in programs_of('plain') if p[0] == VALGRIND_DRIVEN[name])
    folder = LOGS / 'valgrind' / name
    wrapper = [shutil.which('valgrind') or '/usr/bin/valgrind', *VALGRIND, f'--log-file={folder}/valgrind.%p']
    count, problems, took = run_program('valgrind', name, command, env | {'SE_SERVICE_WRAPPER': '\n'.join(wrapper)}, suites)
    logs = sorted(folder.glob('valgrind.*'))
    reports = [text for log in logs if (text := log.read_text(errors='replace')).strip()]
    if not logs:
        reports = [f'{name}: valgrind has not seen it']
    if reports and not count.failed:
        count.failed = 1
    return count, problems + reports, took


def programs_of_examples():
    """Their names: a file of examples/ with a main(), or the folder of one."""
    folder = ROOT / 'examples'
    mains = [path for path in folder.rglob('*.c') if 'int main(' in path.read_text()]
    return {path.stem if path.parent == folder else path.parent.name for path in mains}


def run_valgrind(names, jobs):
    total = Count()
    looked_at = {words[-1] if words[0] == 'with_servers' else words[0] for lines in VALGRIND_EXAMPLES.values() for words in lines}
    if missing := programs_of_examples() - looked_at - set(VALGRIND_DRIVEN):
        say(f'  valgrind: nothing runs {" ".join(sorted(missing))}')
        total.failed += 1
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        jobs_of = {pool.submit(run_driven_example if name in VALGRIND_DRIVEN else run_example, name): name
                   for name in [*VALGRIND_DRIVEN, *VALGRIND_EXAMPLES] if not names or any(n in name for n in names)}
        for done in concurrent.futures.as_completed(jobs_of):
            count, trouble, took = done.result()
            total.add(count)
            say(f'  valgrind {jobs_of[done]:<26} {count}  ({took:.1f} s)')
            for text in trouble:
                say(tail(text))
    return total


def run_python(names):
    """What pytest finds in bindings/python, against the installed library."""
    folder = LOGS / 'python'
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    env = clean_environment()
    install = ['meson', 'install', '-C', BUILD / 'plain', '--no-rebuild', '--quiet', '--destdir', folder / 'installed']
    if run_bounded(install, env, 60, folder / 'install') != 0:
        say(tail((folder / 'install').read_text(errors='replace')))
        return Count(failed=1)
    library = next((folder / 'installed').rglob('libsyncengine.so.0'))
    env |= {'SYNCENGINE_LIBRARY': str(library), 'PYTHONPATH': str(ROOT / 'bindings' / 'python'), 'PYTHONDONTWRITEBYTECODE': '1'}
    # Debian's modules are in no other interpreter.
    command = ['/usr/bin/python3', '-m', 'pytest', '-q', '-p', 'no:cacheprovider', f'--basetemp={folder / "tmp"}',
               f'--junitxml={folder / "result.xml"}', ROOT / 'bindings' / 'python' / 'tests']
    if names:
        command += ['-k', ' or '.join(names)]
    status = run_bounded(command, env, STAGES['python']['seconds'], folder / 'output')
    try:
        about = next(ElementTree.parse(folder / 'result.xml').getroot().iter('testsuite')).attrib
        bad, skipped = int(about['failures']) + int(about['errors']), int(about['skipped'])
        count = Count(int(about['tests']) - bad - skipped, bad, skipped)
    except (OSError, ElementTree.ParseError, StopIteration):
        count = Count()
    if count.failed == 0 and (status != 0 or count.passed == 0):
        count.failed = 1
    if count.failed:
        say(tail((folder / 'output').read_text(errors='replace')))
    return count


def run_stage(stage, names, jobs):
    """Builds and runs one stage; a build that fails is one failed test, one that only has to build is one passed."""
    started = time.monotonic()
    say(f'{stage}: building')
    if not build(STAGES[stage].get('build', stage)):
        return Count(failed=1)
    say(f'{stage}: built in {time.monotonic() - started:.0f} s')
    if stage in ('checks', 'package'):
        count = run_checks(stage, names)
    elif stage == 'ops':
        count = run_ops()
    elif stage == 'fuzz':
        count = run_fuzzers(names, jobs)
    elif stage == 'valgrind':
        count = run_valgrind(names, jobs)
    elif stage == 'python':
        count = run_python(names)
    elif STAGES[stage].get('programs', True):
        count = run_programs(stage, names, jobs)
    else:
        count = Count(passed=1)
    say(f'{stage}: {count}, {time.monotonic() - started:.0f} s')
    return count


def main():
    parser = argparse.ArgumentParser(prog='scripts/test', description='Builds and runs the tests.')
    parser.add_argument('--quick', action='store_true', help='the plain build only')
    parser.add_argument('--stage', action='append', choices=STAGES, help='only this stage; may be repeated')
    parser.add_argument('--jobs', type=int, default=2, help='test programs at a time (2)')
    parser.add_argument('names', nargs='*', metavar='NAME', help='only programs and checks whose name contains it')
    args = parser.parse_args()
    stages = args.stage or (['plain'] if args.quick or args.names else list(STAGES))
    LOGS.mkdir(parents=True, exist_ok=True)
    total = Count()
    started = time.monotonic()
    for stage in stages:
        total.add(run_stage(stage, args.names, args.jobs))
    say(f'{time.monotonic() - started:.0f} s in all; what was printed is in {LOGS}')
    say(str(total))
    return 1 if total.failed or not total.passed else 0


def end(*_):
    for session in list(running):
        os.killpg(session, signal.SIGKILL)
    os._exit(130)


if __name__ == '__main__':
    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGTERM, end)
    sys.path.insert(0, str(ROOT / 'tests'))
    sys.exit(main())
