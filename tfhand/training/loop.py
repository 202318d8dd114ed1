"""The training loop that stages share: optimizer, schedule, progress, logs, backups."""

import keras

from tfhand.training import callbacks

__all__ = ["check_batches", "compile_trainer", "fit"]

_WARMUP_STEPS = 60
_STEPS_PER_EPOCH = 100


def check_batches(num_devices, **batches):
    """Checks that every device gets the same share of every batch.

    The mean over devices is that over the batch only then.

    Args:
        num_devices: Number of devices.
        **batches: Samples a step over all devices, by flag.

    Raises:
        ValueError: If a batch cannot be divided.
    """
    for name, size in batches.items():
        if size % num_devices:
            raise ValueError(
                f"Expected --{name} to be a multiple of the {num_devices} devices, found {size}."
            )


def compile_trainer(model, learning_rate, steps, warmup=_WARMUP_STEPS):
    """Gives a `trainer.PoseTrainer` its optimizer: AdamW with a short rise and a cosine to 0.

    Args:
        model: The trainer.
        learning_rate: Highest learning rate.
        steps: Steps of the training.
        warmup: Steps of the rise.
    """
    warmup = min(warmup, steps // 4)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.01 * learning_rate, steps - warmup, warmup_target=learning_rate, warmup_steps=warmup
    )
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=1e-4)
    # XLA compiles the element-wise parts by themselves; its convolutions are slower on a CPU.
    model.compile(optimizer=optimizer, jit_compile=False)
    model.optimizer.build(model.network.trainable_variables)
    model.track(model.metric_names())


def fit(model, dataset, steps, folder, name, watching=()):
    """Runs `steps` steps, with a progress bar, TensorBoard logs and a backup every epoch.

    Args:
        model: `trainer.PoseTrainer`, compiled.
        dataset: Endless `tf.data.Dataset` of what it takes.
        steps: Steps.
        folder: Folder of the stage.
        name: Of this training within the stage.
        watching: Further callbacks.

    Raises:
        ValueError: If the loss of an epoch is not finite; the backup is that of the one before.
    """
    epochs = max(steps // _STEPS_PER_EPOCH, 1)
    model.fit(
        dataset,
        epochs=epochs,
        steps_per_epoch=steps // epochs,
        shuffle=False,
        verbose="auto",
        callbacks=[
            callbacks.StopAtBadLoss(name),
            keras.callbacks.TensorBoard(str(folder / "logs" / name), update_freq="epoch"),
            keras.callbacks.BackupAndRestore(str(folder / "backup" / name)),
            *watching,
        ],
    )
