"""How the interface works with an engine: threads, answers, samples, events, jobs."""

from gui.tasks.engine_session import EngineSession
from gui.tasks.error_cards import error_card
from gui.tasks.jobs import Job, Jobs
from gui.tasks.sampler import Activity, Sample
from gui.tasks.turns import Turns
from gui.tasks.worker import Answer, Worker

__all__ = ["Activity", "Answer", "EngineSession", "Job", "Jobs", "Sample", "Turns", "Worker", "error_card"]
