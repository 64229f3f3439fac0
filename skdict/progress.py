"""What ``verbose`` shows while a fit runs: a bar where rich can draw one, else lines."""

import importlib
import importlib.util
import math
import time

from skdict import training

EVERY = {"line": 10.0, "bar": 0.5}  # seconds


class Progress:
    """Shows means over the steps since it last did; to be used as a context.

    ``verbose=1`` draws a bar on a terminal if rich is installed and prints lines otherwise; from 2
    on it always prints lines.
    """

    def __init__(self, name, verbose, settings):
        self.name, self.settings = name, settings
        self.bar = _bar(name) if verbose == 1 else None
        self.every = EVERY["line" if self.bar is None else "bar"]

    def __enter__(self):
        self.began = self.shown = time.monotonic()
        self.steps, self.rows, self.last = [], 0, None
        return self

    def __exit__(self, *_):
        if self.last is not None and self.steps:
            self._show(self.last)
        if self.bar is not None:
            self.bar.close()

    def step(self, run):
        """Tell of one step of a :class:`skdict.runs.Run`."""
        seen = run.state.n_seen
        if self.last is None:
            self.first_step, self.first_row = run.state.step - 1, seen - self.settings.batch_size
            self.rows = self.first_row
        self.last = run
        self.steps.append(run.state.steps[-1])
        if time.monotonic() - self.shown >= self.every:
            self._show(run)

    def _show(self, run):
        now, state = time.monotonic(), run.state
        dead = training.n_dead(state, self.settings)
        means = training.mean_of(self.steps, dead)
        speed = max(0, state.n_seen - self.rows) / max(now - self.shown, 1e-9)
        per_step = (now - self.began) / max(state.step - self.first_step, 1)
        left = per_step * max(0, run.plan.end - state.step)
        text = describe(means, speed, left, dead / state.silent_for.size)
        if self.bar is None:
            of = f"/{run.plan.end}" if math.isfinite(run.plan.end) else ""
            epoch = len(run.epochs) + (0 if run.finished or not state.row else 1)
            print(f"[{self.name}] epoch {epoch}, step {state.step}{of}: {text}", flush=True)
        else:
            self.bar.show(state.step - self.first_step, run.plan.end - self.first_step, text)
        self.shown, self.rows, self.steps = now, state.n_seen, []


def describe(means, speed, left, dead):
    """One line: rows per second, loss, explained variance, L0, dead latents, time left."""
    parts = [
        f"{_short(speed)} rows/s",
        f"loss {means.loss:.4g}",
        f"explained {means.explained_variance:.3f}",
        f"L0 {means.l0:.1f}",
        f"dead {means.dead} ({100 * dead:.1f} %)",
    ]
    return ", ".join(parts + ([f"{_duration(left)} left"] if math.isfinite(left) else []))


def _short(number):
    for factor, unit in ((1e6, "M"), (1e3, "k")):
        if number >= factor:
            return f"{number / factor:.3g}{unit}"
    return f"{number:.3g}"


def _duration(seconds):
    minutes, seconds = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _bar(name):
    """A bar on this terminal, or None."""
    if importlib.util.find_spec("rich") is None:
        return None
    console = importlib.import_module("rich.console").Console()
    if not console.is_terminal and not console.is_jupyter:
        return None
    try:
        return _Bar(name, console)
    except importlib.import_module("rich.errors").LiveError:  # another bar is being drawn
        return None


class _Bar:
    def __init__(self, name, console):
        rich = importlib.import_module("rich.progress")
        columns = (rich.TextColumn("{task.description}"), rich.BarColumn())
        columns += (rich.TaskProgressColumn(), rich.TextColumn("{task.fields[text]}"))
        self._progress = rich.Progress(*columns, console=console)
        self._task = self._progress.add_task(name, total=None, text="")
        self._progress.start()

    def show(self, done, total, text):
        total = total if math.isfinite(total) else None
        self._progress.update(self._task, completed=done, total=total, text=text, refresh=True)

    def close(self):
        self._progress.stop()
