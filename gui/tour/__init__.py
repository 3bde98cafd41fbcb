"""The guided tour: the real window driven through the main job, a picture of each step."""

from gui.tour.play import play

__all__ = ["play"]
