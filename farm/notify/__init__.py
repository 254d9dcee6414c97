"""Telling people of a night: by e-mail, webhook or a command of their own.

Nothing here costs results: they are stored before anybody is told, and whoever cannot be told is
tried a few times, and named.
"""

from farm.notify.channel import Channel, Delivery, Message, NotTold, deliver, doubts

__all__ = ["Channel", "Delivery", "Message", "NotTold", "deliver", "doubts"]
