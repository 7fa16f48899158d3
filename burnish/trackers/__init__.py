"""Results of a job, as experiment trackers read them: event files of TensorBoard, runs of MLflow and of Weights &
Biases, and CSV.

Each function takes a job that has a verdict, as the client hands it back, and needs no service. The three trackers
are optional extras (`burnish[tensorboard]`, `burnish[mlflow]`, `burnish[wandb]`), imported when they are asked for.
"""

from burnish.trackers.csv_files import to_csv
from burnish.trackers.event_files import to_tensorboard
from burnish.trackers.mlflow_runs import to_mlflow
from burnish.trackers.wandb_runs import to_wandb

__all__ = ["to_csv", "to_mlflow", "to_tensorboard", "to_wandb"]
