"""A small shop for printed pictures that leaves its slow work to the scheduler."""

from . import controllers
from .models import db, scheduler

__all__ = ["controllers", "db", "scheduler"]
