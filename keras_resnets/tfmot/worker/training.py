"""Fine-tuning with `tf_keras`: pictures from a file, one loop for all three tools."""

import pathlib
import time

import numpy as np


class Pictures:
    """Labelled pictures in `x.npy` and `y.npy`, of which a batch at a time is read.

    Args:
        folder: where they are.
        tuning: `batch_size`, `mirror`, `crop` and `seed`.
    """

    def __init__(self, folder, tuning):
        self.x = np.load(pathlib.Path(folder, "x.npy"), mmap_mode="r")
        self.y = np.load(pathlib.Path(folder, "y.npy"))
        self._tuning = tuning

    def sample(self, count, seed):
        """So many pictures, or all."""
        chosen = np.random.default_rng(seed).permutation(len(self.x))[:count]
        return np.array(self.x[np.sort(chosen)])

    def sequence(self):
        """A `tf_keras.utils.Sequence` in an order of its own every epoch."""
        import tf_keras

        x, y, tuning = self.x, self.y, self._tuning
        size = tuning["batch_size"]

        class Batches(tf_keras.utils.Sequence):
            def __init__(self):
                self._epoch = 0
                self._shuffle()

            def _shuffle(self):
                self._rng = np.random.default_rng([tuning["seed"], self._epoch])
                self._order = self._rng.permutation(len(x))

            def on_epoch_end(self):
                self._epoch += 1
                self._shuffle()

            def __len__(self):
                return -(-len(x) // size)

            def __getitem__(self, index):
                chosen = np.sort(self._order[index * size : (index + 1) * size])
                pictures = augmented(np.array(x[chosen]), tuning, self._rng)
                return pictures, y[chosen]

        return Batches()


def augmented(pictures, tuning, rng):
    """A batch mirrored by chance and moved by up to `crop` pixels, over zeros."""
    if tuning["mirror"]:
        turned = rng.random(len(pictures)) < 0.5
        pictures[turned] = pictures[turned, :, ::-1]
    reach = tuning["crop"]
    if not reach:
        return pictures
    height, width = pictures.shape[1:3]
    padded = np.pad(pictures, ((0, 0), (reach, reach), (reach, reach), (0, 0)))
    corners = rng.integers(0, 2 * reach + 1, (len(pictures), 2))
    for index, (top, left) in enumerate(corners):
        pictures[index] = padded[index, top : top + height, left : left + width]
    return pictures


def fit(model, callbacks, pictures, tuning, tell):
    """Trains `model`, which puts out logits.

    Args:
        model: a `tf_keras.Model`.
        callbacks: of the tool.
        pictures: a `Pictures`.
        tuning: also `epochs` and `learning_rate`, which falls as a cosine.
        tell: called with what goes on, by keyword.
    """
    import tf_keras

    batches = pictures.sequence()
    steps = len(batches) * tuning["epochs"]
    rate = tf_keras.optimizers.schedules.CosineDecay(tuning["learning_rate"], steps)
    model.compile(
        tf_keras.optimizers.SGD(rate, momentum=0.9),
        tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(
        batches,
        epochs=tuning["epochs"],
        shuffle=False,
        verbose=0,
        callbacks=[*callbacks, _teller(tell)],
    )


def _teller(tell):
    import tf_keras

    class Teller(tf_keras.callbacks.Callback):
        done, told = 0, 0.0

        def on_train_batch_end(self, batch, logs=None):
            self.done += 1
            if time.monotonic() - self.told > 0.2:
                self.told = time.monotonic()
                tell(progress=self.done)

        def on_epoch_end(self, epoch, logs=None):
            tell(
                epoch=epoch + 1,
                loss=float(logs["loss"]),
                accuracy=float(logs["accuracy"]),
            )

    return Teller()
