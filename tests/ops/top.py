"""top - `syncengine top` and `stats --url` against a running service: in a terminal, out of one, and when the service has gone."""
import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time

ENTER, LEAVE = '\x1b[?1049h', '\x1b[?1049l'
TITLES = ('L1 ', 'L2 redis', 'L3 sql', 'WAL ', 'redis ', 'sql ', 'queue ', 'pressure ', 'writes ', 'flush ', 'evicted ', 'memory ')


class Terminal:
    """A pseudo terminal with the program in it, as its controlling terminal."""

    def __init__(self, command, rows=24, columns=80):
        self.master, slave = pty.openpty()
        self.slave = slave
        self.resize(rows, columns)
        self.modes = termios.tcgetattr(slave)
        self.text = ''

        def own():
            os.setsid()
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        self.process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, preexec_fn=own,
                                        env={**os.environ, 'TERM': 'xterm'})

    def resize(self, rows, columns):
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack('HHHH', rows, columns, 0, 0))

    def until(self, holds, seconds=10):
        """Reads until holds(text since the last call) or the deadline; what it answered."""
        end = time.monotonic() + seconds
        while not holds(self.text) and time.monotonic() < end:
            if select.select([self.master], [], [], 0.1)[0]:
                self.text += os.read(self.master, 65536).decode('ascii', 'replace')
        return holds(self.text)

    def forget(self):
        self.text = ''

    def keys(self, keys):
        os.write(self.master, keys.encode())

    def end(self):
        """Its exit status, whether it gave the screen back, and whether the modes are as before."""
        try:
            self.until(lambda text: LEAVE in text)
            status = self.process.wait(10)
            return status, LEAVE in self.text, termios.tcgetattr(self.slave) == self.modes
        finally:
            self.process.kill()
            self.process.wait()
            os.close(self.master)
            os.close(self.slave)


def frames(text):
    """The lines of each whole frame, without control sequences."""
    for frame in text.split('\x1b[H')[1:-1]:
        yield re.sub(r'\x1b\[[0-9;?]*[a-zA-Z]|\r', '', frame).split('\n')


def last_frame(text):
    found = list(frames(text))
    return found[-1] if found else []


def fits(rows, columns):
    def holds(text):
        frame = last_frame(text)
        return len(frame) == rows and max(map(len, frame)) <= columns
    return holds


def check_screen(check, tool, url):
    terminal = Terminal([tool, 'top', '--url', url, '--interval', '200ms'])
    shown = terminal.until(lambda text: ENTER in text and len(list(frames(text))) > 3)
    frame = last_frame(terminal.text)
    check('top: draws on the alternate screen', shown, terminal.text)
    check('top: everything is there at 80x24', len(frame) == 24 and max(map(len, frame)) <= 80
          and all(any(line.startswith(t) for line in frame) for t in TITLES), '\n'.join(frame))
    check('top: has rates', re.search(r'^L1 +[1-9][\d,.]* ', '\n'.join(frame), re.M), '\n'.join(frame))
    terminal.forget()
    terminal.resize(10, 40)
    check('top: follows a resize', terminal.until(fits(10, 40)), '\n'.join(last_frame(terminal.text)))
    terminal.keys('q')
    check('top: q leaves and gives the terminal back', terminal.end() == (0, True, True))
    terminal = Terminal([tool, 'top', '--url', url])
    terminal.until(lambda text: 'L1 ' in text)
    terminal.keys('\x03')
    check('top: Ctrl-C leaves and gives the terminal back', terminal.end() == (0, True, True))


def check_plain(check, tool, url):
    once = subprocess.run([tool, 'top', '--url', url, '--once', '--interval', '300ms'], text=True, capture_output=True, timeout=30)
    check('top --once: one table', once.returncode == 0 and '\x1b' not in once.stdout and all(t in once.stdout for t in TITLES),
          once.stdout + once.stderr)
    flow = subprocess.Popen([tool, 'top', '--url', url, '--interval', '200ms'], text=True, stdout=subprocess.PIPE)
    seen = 0
    for line in flow.stdout:
        seen += line.startswith('pressure ')
        if seen == 3:
            break
    flow.terminate()
    rest = flow.communicate(timeout=10)[0]
    check('top: without a terminal a table per interval', seen == 3 and flow.returncode == 0 and '\x1b' not in rest,
          f'{seen} tables, status {flow.returncode}')


def check_stats(check, tool, url):
    done = subprocess.run([tool, 'stats', '--url', url, '--json'], text=True, capture_output=True, timeout=30)
    try:
        families = json.loads(done.stdout)
        hits = [s for s in families['sync_engine_operations_total'] if (s['tier'], s['status']) == ('l1', 'hit')]
        batch = families['sync_engine_flush_batch_items'][0]
        fine = hits[0]['value'] > 0 and batch['count'] > 0 and 0 < batch['p50'] <= batch['p99']
    except (ValueError, KeyError, IndexError, TypeError) as wrong:
        fine, done.stderr = False, f'{done.stderr}{wrong!r}'
    check('stats --url --json: every family, with values', done.returncode == 0 and fine, done.stderr)


def check_alive(check, tool, url):
    check_screen(check, tool, url)
    check_plain(check, tool, url)
    check_stats(check, tool, url)


def start_watching(tool, url):
    """A top that is to see the service go."""
    terminal = Terminal([tool, 'top', '--url', url, '--interval', '200ms'])
    terminal.until(lambda text: 'L1 ' in text)
    return terminal


def check_gone(check, terminal, tool, url):
    terminal.forget()
    tried = terminal.until(lambda text: text.count('No answer') > 3)
    check('top: says that nobody answers, and goes on trying', tried and terminal.process.poll() is None, terminal.text)
    check('top: keeps the last numbers meanwhile', any(line.startswith('L1 ') for line in last_frame(terminal.text)))
    terminal.keys('q')
    check('top: leaves then, too', terminal.end() == (0, True, True))
    once = subprocess.run([tool, 'top', '--url', url, '--once'], text=True, capture_output=True, timeout=30)
    check('top --once: status 2 without an answer', once.returncode == 2 and 'no answer' in once.stderr, once.stderr)
