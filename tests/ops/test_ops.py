#!/usr/bin/python3
"""test_ops - the files in ops/ against a real Prometheus, a real service under load, and outages.

    tests/ops/test_ops.py WORLD TOOL [--svg OUT] [--calm SECONDS]

WORLD is the program tests/ops/world.c, TOOL is syncengine, both built. What is checked:
  - scrape configuration, rules and their unit tests, by promtool; the dashboard is what its table says
  - /metrics of the loaded service passes promtool
  - every expression of every panel finds series with values, and so does every recording rule
  - the alerts that an outage of the database, one of Redis, a refused row and the service's end should cause fire, and resolve
  - `syncengine top` and `stats --url` show that service (top.py)
The rules are the shipped ones, but for time: `for:` and ranges are a few seconds, and they are evaluated each second.
--svg draws the dashboard from this run's data; --calm lets the service run so long before, between and after the outages.
The last line is "N passed, N failed, N skipped".
"""
import argparse
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

import top

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
OPS = ROOT / 'ops'
RULES = OPS / 'prometheus' / 'syncengine.rules.yml'
DASHBOARD = OPS / 'grafana' / 'syncengine.json'
RATE_S = 8  # ranges of rates; two scrapes at least
PATIENCE_S = 40
PASSED, FAILED = [], []


def check(name, fine, why=''):
    (PASSED if fine else FAILED).append(name)
    print(f'  {"ok    " if fine else "FAILED"} {name}' + ('' if fine else f': {why}'), flush=True)
    return fine


def promtool(*arguments, **more):
    return subprocess.run(['promtool', *map(str, arguments)], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **more)


def check_files():
    for name, arguments in (('configuration', ('check', 'config', OPS / 'prometheus' / 'prometheus.yml')),
                            ('rules', ('check', 'rules', RULES)),
                            ('rules behave', ('test', 'rules', OPS / 'prometheus' / 'syncengine.test.yml'))):
        done = promtool(*arguments, cwd=OPS / 'prometheus')
        check(f'promtool: {name}', done.returncode == 0 and 'SUCCESS' in done.stdout, done.stdout)
    made = subprocess.run([OPS / 'dashboard'], text=True, stdout=subprocess.PIPE, check=True).stdout
    check('the dashboard is what ops/dashboard says', made == DASHBOARD.read_text(),
          'ops/dashboard > ops/grafana/syncengine.json')
    alerts = set(re.findall(r'alert: (\w+)', RULES.read_text()))
    untested = alerts - set(re.findall(r'- name: (\w+)', (OPS / 'prometheus' / 'syncengine.test.yml').read_text()))
    check('every alert has a unit test', alerts and not untested, str(untested))
    page = (ROOT / 'docs' / 'operations.md').read_text()
    check('every alert has a line in docs/operations.md', not [a for a in alerts if a not in page],
          str([a for a in alerts if a not in page]))


# ---- the world and its Prometheus ----


class World:
    def __init__(self, program, folder, port=0):
        self.again = lambda: World(program, folder, self.port)
        self.process = subprocess.Popen([program, folder, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if not line.startswith('port '):
            raise SystemExit(f'world said {line!r}')
        self.port = int(line.split()[1])
        self.url = f'http://127.0.0.1:{self.port}'

    def order(self, text):
        self.process.stdin.write(text + '\n')
        self.process.stdin.flush()
        if self.process.stdout.readline() != 'done\n':
            raise SystemExit(f'world did not obey {text!r}')

    def end(self):
        if self.process.poll() is None:
            self.process.stdin.close()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def hurried(rules):
    """The shipped rules in seconds for minutes."""
    rules = re.sub(r'^(\s+for:) \S+$', r'\1 1s', rules, flags=re.M)
    rules = re.sub(r'\[\d+m\]', f'[{RATE_S}s]', rules)
    return re.sub(r'^(  - name: .*)$', r'\1\n    interval: 1s', rules, flags=re.M)


class Prometheus:
    def __init__(self, folder, target):
        self.url = f'http://127.0.0.1:{free_port()}'
        (folder / 'syncengine.rules.yml').write_text(hurried(RULES.read_text()))
        configuration = (OPS / 'prometheus' / 'prometheus.yml').read_text()
        configuration = configuration.replace('127.0.0.1:9464', f'127.0.0.1:{target}')
        configuration = re.sub(r'(scrape_interval|scrape_timeout|evaluation_interval): \S+', r'\1: 1s', configuration)
        (folder / 'prometheus.yml').write_text(configuration)
        self.log = open(folder / 'log', 'wb')
        self.process = subprocess.Popen(
            ['prometheus', f'--config.file={folder}/prometheus.yml', f'--storage.tsdb.path={folder}/data',
             f'--web.listen-address={self.url[7:]}'], stdout=self.log, stderr=subprocess.STDOUT)
        self.folder = folder

    def ask(self, query):
        url = f'{self.url}/api/v1/query?' + urllib.parse.urlencode({'query': query})
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)['data']['result']
        except urllib.error.HTTPError as refused:
            if refused.code == 503:  # it is starting
                return []
            raise SystemExit(f'{query}: {refused.read().decode()}') from None
        except OSError:  # not yet, or no more
            if self.process.poll() is not None:
                raise SystemExit((self.folder / 'log').read_text()) from None
            return []

    def firing(self):
        return {(r['metric']['alertname'], r['metric'].get('backend', r['metric'].get('circuit', '')))
                for r in self.ask('ALERTS{alertstate="firing"}')}

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


def until(holds, seconds=PATIENCE_S):
    """The first true answer, or the last one at the deadline."""
    end = time.monotonic() + seconds
    while True:
        answer = holds()
        if answer or time.monotonic() > end:
            return answer
        time.sleep(0.2)


# ---- what is to be seen ----


def concrete(expr):
    for name in ('job', 'instance', 'engine'):
        expr = expr.replace(f'"${name}"', '".*"')
    return expr.replace('$__rate_interval', f'{RATE_S}s')


def numbers(result):
    return [r for r in result if r['value'][1] != 'NaN']


def check_panels(prometheus):
    panels = [p for p in json.loads(DASHBOARD.read_text())['panels'] if p['type'] != 'row']
    check('the dashboard has its panels', len(panels) >= 24, str(len(panels)))
    for panel in panels:
        empty = [t['expr'] for t in panel['targets'] if not until(lambda t=t: numbers(prometheus.ask(concrete(t['expr']))), 15)]
        check(f'panel: {panel["title"]}', not empty, '; '.join(empty))


OPERATIONS = {(tier, operation) for tier, operations in (('l1', 'get put'), ('l2', 'get put probe'), ('l3', 'get put probe'),
                                                         ('wal', 'put drain')) for operation in operations.split()}


def check_operations(prometheus):
    """A panel that has one curve of two is not empty: here each is asked for."""
    def missing():
        found = prometheus.ask('sync_engine_operation_duration_seconds_count > 0')
        return OPERATIONS - {(r['metric']['tier'], r['metric']['operation']) for r in found}
    check('every operation of every tier is timed', until(lambda: not missing(), 15), str(missing()))


def check_records(prometheus):
    for record in re.findall(r'record: (\S+)', RULES.read_text()):
        found = until(lambda record=record: numbers(prometheus.ask(record)), 15)
        check(f'recorded: {record}', found)


def check_page(world):
    with urllib.request.urlopen(f'{world.url}/metrics', timeout=10) as answer:
        page = answer.read().decode()
    done = promtool('check', 'metrics', input=page)
    check('promtool: a loaded /metrics', page and done.returncode == 0 and not done.stdout.strip(), done.stdout)


def sees(prometheus, expected, fires):
    def holds():
        firing = prometheus.firing()
        return expected <= firing if fires else not expected & firing
    fine = until(holds)
    check(f'{"fire" if fires else "resolve"}: {", ".join(" ".join(e).strip() for e in sorted(expected))}', fine,
          f'firing: {sorted(prometheus.firing())}')


def outage(prometheus, world, marks, begin, end, expected, calm):
    marks.append((time.time(), begin))
    world.order(begin)
    sees(prometheus, expected, True)
    time.sleep(calm / 2)
    marks.append((time.time(), end))
    world.order(end)
    sees(prometheus, expected, False)
    time.sleep(calm)


def run(prometheus, world, tool, svg, calm):
    began, marks = time.time(), []
    check('Prometheus scrapes the service', until(lambda: numbers(prometheus.ask('up{job="syncengine"} == 1'))))
    check_page(world)
    top.check_alive(check, tool, world.url)
    until(lambda: time.time() - began > 6 + calm, 6 + calm)
    check('nothing fires in peace', until(lambda: not prometheus.firing(), 10), str(prometheus.firing()))
    outage(prometheus, world, marks, 'sql stop', 'sql go',
           {('SyncEngineBackendDown', 'sql'), ('SyncEngineCircuitOpen', 'sql'), ('SyncEngineWalNotDraining', '')}, calm)
    check_panels(prometheus)  # with the outage behind it the service has done all that a panel shows
    check_operations(prometheus)
    check_records(prometheus)
    outage(prometheus, world, marks, 'redis stop', 'redis go',
           {('SyncEngineBackendDown', 'redis'), ('SyncEngineCircuitOpen', 'redis')}, calm)
    outage(prometheus, world, marks, 'poison', 'cure', {('SyncEngineDeadLetters', '')}, calm)
    if svg:
        draw(prometheus, began, marks, svg)
    watching = top.start_watching(tool, world.url)
    world.end()
    top.check_gone(check, watching, tool, world.url)
    sees(prometheus, {('SyncEngineDown', '')}, True)
    world = world.again()
    try:
        sees(prometheus, {('SyncEngineDown', '')}, False)
    finally:
        world.end()


def draw(prometheus, began, marks, svg):
    command = [OPS / 'draw', '--prometheus', prometheus.url, '--from', str(began), '--to', str(time.time()), '--rate', str(RATE_S)]
    for when, what in marks:
        command += ['--mark', f'{when}={what}']
    subprocess.run([*map(str, command), svg], check=True)
    text = pathlib.Path(svg).read_text()
    check('the drawing has every panel and curves', text.count('<polyline') > 40, svg)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('world')
    parser.add_argument('tool')
    parser.add_argument('--svg', help='draw the dashboard there')
    parser.add_argument('--calm', type=int, default=0)
    args = parser.parse_args()
    os.environ['PATH'] += ':/usr/local/sbin:/usr/sbin:/sbin'
    if not shutil.which('prometheus') or not shutil.which('promtool'):
        print('no prometheus here (scripts/setup test installs it)\n0 passed, 0 failed, 1 skipped')
        return 0
    check_files()
    with tempfile.TemporaryDirectory(prefix='syncengine-ops-', dir='/dev/shm') as folder:
        world = World(args.world, folder)
        prometheus = None
        try:
            prometheus = Prometheus(pathlib.Path(folder), world.port)
            run(prometheus, world, args.tool, args.svg or f'{folder}/dashboard.svg', args.calm)
        finally:
            if prometheus:
                prometheus.end()
            world.end()
    print(f'{len(PASSED)} passed, {len(FAILED)} failed, 0 skipped')
    return 1 if FAILED or not PASSED else 0


if __name__ == '__main__':
    sys.exit(main())
