"""In-memory stills, models and jobs of the page. Jobs run one at a time; the oldest results are dropped."""

from __future__ import annotations

import logging
import secrets
import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from lddm.errors import LddmError
from lddm.io.recording import Recording
from lddm.synthesis.model_store import baselines_of, find_model, model_folders, read_about, trained_on
from lddm.task import Task

if TYPE_CHECKING:
    from lddm.synthesis.animate import Animator

logger = logging.getLogger(__name__)

MAX_SAMPLES, MAX_LENGTH = 8, 120
MAX_VIDEO_BYTES = 512 * 2**20  # largest total size of the videos of one job
KEPT_STILLS, KEPT_JOBS, KEPT_MODELS, WAITING = 8, 4, 4, 4
BASELINE = "motion_transfer"

Value = TypeVar("Value")


class Cancelled(Exception):
    """The job was cancelled from the page."""


@dataclass(frozen=True)
class Request:
    """Request for a job.

    Attributes:
        still, model: keys of the still and the model in the workbench.
        label: class name or target; None = unknown.
        samples, length, seed: as in `Animator.animate`.
        baseline: whether to add a motion-transfer video, if the model package contains that baseline.
    """

    still: str
    model: str
    label: str | float | None = None
    samples: int = 1
    length: int = 16
    seed: int = 0
    baseline: bool = True

    @classmethod
    def of_json(cls, asked: Any) -> Request:
        """Parse a JSON object, checking types and ranges.

        Raises:
            LddmError: an unknown key, a wrong type or a number out of range.
        """
        if not isinstance(asked, dict):
            raise LddmError("expected a JSON object", "reload the page")
        kinds: dict[str, tuple[type, ...]] = {
            "still": (str,), "model": (str,), "label": (str, int, float, type(None)), "samples": (int,),
            "length": (int,), "seed": (int,), "baseline": (bool,),
        }  # fmt: skip
        for name, value in asked.items():
            wrong = isinstance(value, bool) and bool not in kinds.get(name, ())
            if name not in kinds or wrong or not isinstance(value, kinds[name]):
                raise LddmError(f"unexpected value of '{name}'", "reload the page")
        if not {"still", "model"} <= asked.keys():
            raise LddmError("expected a still and a model", "drop a still on the page first")
        request = cls(**asked)
        for name, value, low, high in (
            ("samples", request.samples, 1, MAX_SAMPLES),
            ("length", request.length, 1, MAX_LENGTH),
            ("seed", request.seed, 0, 2**31 - 1),
        ):
            if not low <= value <= high:
                raise LddmError(f"{name} {value} is out of range", f"expected {low} to {high}")
        return request


@dataclass
class Job:
    """A request with its state and results.

    Attributes:
        state: waiting, running, done, failed or cancelled.
        progress: fraction of finished frames, 0..1.
        warning: warning for the user, e.g. that the still is out of distribution.
        videos: (title, frames uint8 (T + 1, H, W)) per video.
    """

    request: Request
    state: str = "waiting"
    progress: float = 0.0
    message: str = ""
    warning: str = ""
    trained_on: str = ""
    fps: float = 10.0
    spacing: tuple[float, float] | None = None
    videos: list[tuple[str, np.ndarray]] = field(default_factory=list)

    def as_json(self, key: str) -> dict[str, Any]:
        """JSON form for the page."""
        about = {name: getattr(self, name) for name in ("state", "progress", "message", "warning", "trained_on", "fps")}
        videos = [{"title": title, "shape": list(video.shape)} for title, video in self.videos]
        return {"id": key, **about, "seed": self.request.seed, "videos": videos}


class Workbench:
    """State of the server: stills, models and jobs.

    Args:
        models: models in addition to those of `lddm models list`, as accepted by `find_model`.

    Raises:
        LddmError: a model was not found, or no model is installed.
    """

    def __init__(self, models: list[str] | None = None):
        self.folders: dict[str, Path] = {str(model): find_model(model) for model in models or []} | model_folders()
        if not self.folders:
            raise LddmError("no model is installed", "train one with `make run`, and pass its bundle with --model")
        self.abouts = {name: read_about(folder) for name, folder in self.folders.items()}
        self.stills: OrderedDict[str, Recording] = OrderedDict()
        self.jobs: OrderedDict[str, Job] = OrderedDict()
        self._animators: OrderedDict[Path, Animator] = OrderedDict()
        self._lock, self._worker = threading.Lock(), ThreadPoolExecutor(1, "animate")

    def model_choices(self) -> list[dict[str, Any]]:
        """Description of each model for the page."""
        choices = []
        for name, about in self.abouts.items():
            task = Task.of_meta(about)
            target = None
            if task.is_regression:
                target = {"name": task.name, "unit": task.unit, "low": task.low, "high": task.high}
            facts = {key: about[key] for key in ("generator", "frames", "fps", "size")}
            baseline = any(read_about(path)["generator"] == BASELINE for path in baselines_of(self.folders[name]))
            labels = {"classes": list(task.classes), "target": target, "baseline": baseline}
            choices.append({"name": name, "trained_on": trained_on(about), **facts, **labels})
        return choices

    def add_still(self, recording: Recording) -> str:
        """Store a still and return its key."""
        return self._keep(self.stills, recording, KEPT_STILLS)

    def start(self, request: Request) -> str:
        """Queue a job and return its key.

        Raises:
            LddmError: an unknown still, model or class, too many frames, or too many jobs.
        """
        recording = self.stills.get(request.still)
        if recording is None:
            raise LddmError("the still has been removed from memory", "drop it on the page again")
        if request.model not in self.folders:
            raise LddmError(f"unknown model '{request.model}'", f"expected one of {', '.join(self.folders)}")
        Task.of_meta(self.abouts[request.model]).check(request.label)
        videos = request.samples + request.baseline
        if videos * (request.length + 1) * recording.frames[0].size > MAX_VIDEO_BYTES:
            raise LddmError("this job is too large", "ask for fewer samples or frames, or crop the still")
        if sum(job.state in ("waiting", "running") for job in self.jobs.values()) >= WAITING:
            raise LddmError("too many jobs are waiting", "wait until one has ended, or cancel one")
        job = Job(request, spacing=recording.spacing)
        key = self._keep(self.jobs, job, KEPT_JOBS)
        self._worker.submit(self._run, job, recording.frames[0])
        return key

    def forget(self, key: str) -> None:
        """Drop a still or a job; a running job stops at its next frame."""
        with self._lock:
            self.stills.pop(key, None)
            job = self.jobs.pop(key, None)
        if job is not None and job.state in ("waiting", "running"):
            job.state = "cancelled"

    def close(self) -> None:
        """Drop all data and stop the worker."""
        for key in [*self.jobs, *self.stills]:
            self.forget(key)
        self._worker.shutdown(wait=True, cancel_futures=True)

    def _keep(self, kept: OrderedDict[str, Value], value: Value, most: int) -> str:
        key = secrets.token_urlsafe(18)
        with self._lock:
            kept[key] = value
            oldest = list(kept)[: max(0, len(kept) - most)]
        for old in oldest:
            self.forget(old)
        return key

    def _run(self, job: Job, still: np.ndarray) -> None:
        if job.state == "cancelled":
            return
        job.state = "running"
        try:
            self._animate(job, still)
            job.progress = 1.0
            job.state = "done" if job.state == "running" else job.state
        except Cancelled:
            job.videos.clear()
        except LddmError as error:
            job.message, job.state = str(error), "failed"
        # a bug: the server must keep running, and the page must not show messages that may contain data
        except Exception:
            logger.exception("a job failed")
            job.message, job.state = "the animation failed; the log of the server has the reason", "failed"

    def _animate(self, job: Job, still: np.ndarray) -> None:
        request, folder = job.request, self.folders[job.request.model]
        animator = self._animator(folder)
        job.fps, job.trained_on = animator.fps, trained_on(animator.about)
        compared = animator.compare(still)
        if compared is not None and compared.is_out_of_distribution:
            job.warning = compared.said(job.trained_on)
        others = [one for one in baselines_of(folder) if request.baseline and read_about(one)["generator"] == BASELINE]
        total = request.samples + len(others)
        videos: list[tuple[str, np.ndarray]] = []
        for one, count in [(animator, request.samples), *((self._animator(path), 1) for path in others[:1])]:

            def on_frame(made: int, of: int, before: int = len(videos), count: int = count) -> None:
                if job.state == "cancelled":
                    raise Cancelled
                job.progress = (before + count * made / of) / total

            size = "native" if one.has_native_size else "model"
            job.spacing = job.spacing if size == "native" else None
            length = {"length": request.length, "size": size, "on_frame": on_frame}
            made = one.animate(still, count, request.seed, request.label, **length)  # type: ignore[arg-type]
            name = one.about["generator"].replace("_", " ").replace("lddm", "LDDM")
            videos += [(f"{name}, sample {k}" if count > 1 else name, video) for k, video in enumerate(made, 1)]
        job.videos = videos

    def _animator(self, folder: Path) -> Animator:
        """Load a model; the most recent ones are cached. Called by the worker thread only."""
        from lddm.synthesis.animate import Animator

        if folder not in self._animators:
            self._animators[folder] = Animator.load(folder)
        self._animators.move_to_end(folder)
        while len(self._animators) > KEPT_MODELS:
            self._animators.popitem(last=False)
        return self._animators[folder]
