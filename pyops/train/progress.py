"""A progress bar and a line an epoch, by rich."""
from __future__ import annotations


def show(trainer, resume: bool = False) -> None:
    """Runs trainer.fit() under a progress bar (on a terminal) and prints a line an epoch. The
    trainer's own tick and report run too."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    console = Console(highlight=False)
    columns = (TextColumn("epoch {task.fields[epoch]}"),
               BarColumn(), TextColumn("{task.percentage:3.0f} %  loss {task.fields[loss]:.3f}"),
               TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    tick, report = trainer.tick, trainer.report
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        of = trainer.batches_per_epoch
        task = progress.add_task("", total=trainer.epochs * of, epoch=1, loss=0.0)

        def ticked(epoch, batch, loss):
            progress.update(task, completed=(epoch - 1) * of + batch, epoch=epoch, loss=loss)
            tick(epoch, batch, loss)

        def reported(epoch):
            console.print(str(epoch), soft_wrap=True)
            report(epoch)
        trainer.tick, trainer.report = ticked, reported
        try:
            trainer.fit(resume=resume)
        finally:
            trainer.tick, trainer.report = tick, report
