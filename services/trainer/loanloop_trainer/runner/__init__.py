"""The child process that trains: `python -m loanloop_trainer.runner RUN_ID`, started by the trainer."""
