"""What the trainer tells its child, as one line of JSON on its standard input; passwords stay out of `ps`."""

from typing import Literal

from pydantic import BaseModel


class Orders(BaseModel):
    parent_pid: int
    owner: str
    portfolio: str
    dsn: str
    read_only_dsn: str | None
    threads: int
    niceness: int
    checkpoint_every_s: float
    log_format: Literal["console", "json"]
    log_level: str
