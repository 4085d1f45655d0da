"""Networks of Keras with the architectures of presets, imported: degrain's output against Keras's.

    pip install numpy safetensors keras tensorflow
    cargo build --release
    python tests/interop/keras_check.py [--write]

Each goes by `numpy.savez(*model.get_weights())` and by a safetensors file of the variables' paths. `--write` makes the
files in tests/interop/vectors that `cargo test` holds the import against.
"""

import pathlib
import sys
import tempfile

import keras
import numpy as np
import safetensors.numpy
from keras import layers

from degrain import HERE, Report, codes_and_pictures, degrain, pictures


def conv(channels, **settings):
    return layers.Conv2D(channels, settings.pop("kernel", 3), **{"padding": "same", **settings})


def transposed(channels, strides, **settings):
    return layers.Conv2DTranspose(channels, 3, strides=strides, padding="same", **settings)


def lfw_conv():
    x = inputs = keras.Input((32, 32, 3))
    for channels in (32, 64, 128, 256):
        x = layers.MaxPooling2D(2)(conv(channels, activation="elu")(x))
    code = layers.Dense(32)(layers.Flatten()(x))
    x = layers.Reshape((2, 2, 256))(layers.Dense(1024)(code))
    for channels in (128, 64, 32):
        x = transposed(channels, 2, activation="elu")(x)
    return keras.Model(inputs, [code, transposed(3, 2)(x)])


def quickdraw_conv():
    x = inputs = keras.Input((28, 28, 1))
    for channels in (16, 8, 8):
        x = layers.MaxPooling2D(2, padding="same")(conv(channels, activation="relu")(x))
    code = layers.Flatten()(x)
    for channels, padding in ((8, "same"), (8, "same"), (16, "valid")):
        x = layers.UpSampling2D(2)(conv(channels, padding=padding, activation="relu")(x))
    return keras.Model(inputs, [code, conv(1, activation="sigmoid")(x)])


class Tied(layers.Layer):
    """A dense layer with another's kernel, transposed, and a bias of its own."""

    def __init__(self, dense, **settings):
        super().__init__(**settings)
        self.kernel_of = [dense]

    def build(self, shape):
        self.bias = self.add_weight(name="bias", shape=(self.kernel_of[0].kernel.shape[0],))

    def call(self, x):
        return keras.ops.matmul(x, keras.ops.transpose(self.kernel_of[0].kernel)) + self.bias


def mnist_dae():
    inputs = keras.Input((28, 28, 1))
    x, dense = layers.Flatten()(inputs), [layers.Dense(units, activation="relu") for units in (300, 100, 50)]
    for layer in dense:
        x = layers.BatchNormalization()(layer(x))
    code = x
    for layer in dense[:0:-1]:
        x = layers.BatchNormalization()(layers.ReLU()(Tied(layer)(x)))
    return keras.Model(inputs, [code, layers.Reshape((28, 28, 1))(Tied(dense[0])(x))])


def pokemon_conv():
    x = inputs = keras.Input((40, 40, 3))
    for channels in (16, 32):
        x = layers.MaxPooling2D(2)(conv(channels, activation="relu")(x))
    code = layers.Flatten()(x)
    for channels in (16, 3):
        x = layers.UpSampling2D(2)(transposed(channels, 1, activation="sigmoid")(x))
    return keras.Model(inputs, [code, x])


def small():
    """vectors/small.toml."""
    inputs = keras.Input((8, 6, 3))
    x = layers.BatchNormalization()(conv(4, activation="elu")(inputs))
    x = conv(5, kernel=2, padding="valid", activation="tanh")(layers.MaxPooling2D(2)(x))
    x = layers.BatchNormalization()(layers.Dense(7, activation="relu")(layers.Flatten()(x)))
    code = layers.Dense(4)(x)
    x = layers.BatchNormalization()(layers.LeakyReLU(negative_slope=0.2)(layers.Dense(60)(code)))
    x = transposed(3, 2, activation="sigmoid")(layers.Reshape((4, 3, 5))(x))
    return keras.Model(inputs, [code, transposed(3, 1)(x)])


def randomise(model):
    """Weights that keep values about 1 from layer to layer, and vectors as after a training."""
    generator = np.random.default_rng(2)
    for weight in model.weights:
        if len(weight.shape) == 1:
            centre = 1.0 if weight.path.endswith(("gamma", "variance")) else 0.0
            weight.assign(centre + generator.uniform(-0.5, 0.5, weight.shape))
        else:
            weight.assign(weight * 1.5)


def check(name, preset, model, x, report):
    code, y = model.predict(x, verbose=0)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        np.savez(folder / "weights.npz", *model.get_weights())
        safetensors.numpy.save_file({w.path: w.numpy() for w in model.weights}, folder / "weights.safetensors")
        for file in ("weights.npz", "weights.safetensors"):
            run = folder / pathlib.Path(file).suffix[1:]
            degrain("import", preset, folder / file, "-o", run)
            codes, restored = codes_and_pictures(run, x, folder, "--device", "cpu")
            report.compare(f"{name} {file} code", codes, code)
            report.compare(f"{name} {file} output", restored, y)


def main():
    print(f"keras {keras.__version__}, backend {keras.backend.backend()}")
    keras.utils.set_random_seed(1)
    networks = [
        ("lfw-conv", lfw_conv, (32, 32, 3), -0.5),
        ("quickdraw-conv", quickdraw_conv, (28, 28, 1), 0.0),
        ("mnist-dae", mnist_dae, (28, 28, 1), 0.0),
        ("pokemon-conv", pokemon_conv, (40, 40, 3), 0.0),
        (HERE / "vectors/small.toml", small, (8, 6, 3), 0.0),
    ]
    report = Report()
    for preset, make, shape, offset in networks:
        # Names are counted from the start.
        keras.backend.clear_session()
        model = make()
        randomise(model)
        check(pathlib.Path(preset).stem, preset, model, pictures(5, *shape, offset), report)
    if "--write" in sys.argv:
        x = pictures(3, 8, 6, 3)
        code, y = model.predict(x, verbose=0)
        np.savez(HERE / "vectors/keras.npz", *model.get_weights())
        for name, array in [("input", x), ("code", code), ("output", y)]:
            np.save(HERE / f"vectors/keras_{name}.npy", np.ascontiguousarray(array))
    report.end()


main()
