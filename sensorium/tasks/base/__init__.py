"""What every task is made of: Task, Options, Units of an input, Sessions on one, and the registry of tasks."""

from sensorium.tasks.base.head import Head
from sensorium.tasks.base.loader import Loader
from sensorium.tasks.base.models import Models
from sensorium.tasks.base.registry import all_tasks, get_task, register_task, task_names
from sensorium.tasks.base.runtime import Runtime
from sensorium.tasks.base.session import Runner, Session
from sensorium.tasks.base.task import Task
from sensorium.tasks.base.unit import Batch, Call, Empty, Fit, Unit
from sensorium.tasks.options import Options

__all__ = [
    "Batch",
    "Call",
    "Empty",
    "Fit",
    "Head",
    "Loader",
    "Models",
    "Options",
    "Runner",
    "Runtime",
    "Session",
    "Task",
    "Unit",
    "all_tasks",
    "get_task",
    "register_task",
    "task_names",
]
