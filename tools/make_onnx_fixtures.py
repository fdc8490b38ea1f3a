"""Writes the ONNX models under tests/fixtures/onnx and prints the numbers that the tests expect of them.

    pip install onnx onnxruntime numpy
    python tools/make_onnx_fixtures.py

The BioImage.IO descriptions beside the models are written by hand; only the sha256 they name comes from here.
"""

import hashlib
from pathlib import Path

import numpy as np
import onnxruntime
from onnx import TensorProto, checker, helper, numpy_helper

FOLDER = Path(__file__).parent.parent / "tests" / "fixtures" / "onnx"
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def node(operator, inputs, outputs, **attributes):
    """Values are names with spaces between; "-" is an input left out."""
    names = ["" if name == "-" else name for name in inputs.split()]
    return helper.make_node(operator, names, outputs.split(), **attributes)


def save(name, inputs, outputs, nodes, constants=(), check=True):
    """One model; `inputs` and `outputs` are lists of (name, type, shape)."""
    graph = helper.make_graph(
        nodes,
        "fixture",
        [helper.make_tensor_value_info(*value) for value in inputs],
        [helper.make_tensor_value_info(*value) for value in outputs],
        [numpy_helper.from_array(np.asarray(array), key) for key, array in constants],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if check:
        checker.check_model(model, full_check=True)
    path = FOLDER / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())


def show(name, x):
    session = onnxruntime.InferenceSession(FOLDER / name)
    (value,) = session.run(None, {session.get_inputs()[0].name: np.asarray(x, np.float32)})
    sha256 = hashlib.sha256((FOLDER / name).read_bytes()).hexdigest()
    print(f"\n{name}  sha256 {sha256}\n{value.shape}\n{np.array2string(value.ravel(), precision=9)}")


def kernel(*channels):
    return np.array(channels, np.float32)[:, None]


# The pixel itself, the one to its left, the mean of the four around it: which shows a flip or a transposition.
ITSELF = [[0, 0, 0], [0, 1, 0], [0, 0, 0]]
LEFT = [[0, 0, 0], [1, 0, 0], [0, 0, 0]]
AROUND = [[0, 0.25, 0], [0.25, 0, 0.25], [0, 0.25, 0]]
W3 = ("w", kernel(ITSELF, LEFT, AROUND))
B3 = ("b", np.array([0, 0.5, -0.5], np.float32))
SAME = dict(kernel_shape=[3, 3], pads=[1, 1, 1, 1])

DYNAMIC = ["n", 1, "h", "w"]
IMAGE = np.arange(8).reshape(1, 1, 2, 4)


def models():
    conv = node("Conv", "x w b", "z", **SAME)
    save("softmax.onnx", [("x", FLOAT, DYNAMIC)], [("y", FLOAT, ["n", 3, "h", "w"])],
         [conv, node("Softmax", "z", "y", axis=1)], [W3, B3])
    save("fixed.onnx", [("x", FLOAT, [1, 1, 2, 4])], [("z", FLOAT, [1, 3, 2, 4])], [conv], [W3, B3])
    save("sigmoid.onnx", [("x", FLOAT, DYNAMIC)], [("y", FLOAT, DYNAMIC)],
         [node("Conv", "x w", "z", **SAME), node("Sigmoid", "z", "s"), node("Identity", "s", "y")],
         [("w", kernel(LEFT) / 4)])
    # Half the resolution and back, with a skip: what a U-Net asks of the sizes, and of the runtime.
    save("unet.onnx", [("x", FLOAT, DYNAMIC)], [("y", FLOAT, ["n", 2, "h", "w"])],
         [node("Conv", "x w", "a", **SAME), node("InstanceNormalization", "a one zero", "i"),
          node("LeakyRelu", "i", "c", alpha=0.01), node("MaxPool", "c", "d", kernel_shape=[2, 2], strides=[2, 2]),
          node("ConvTranspose", "d u", "e", kernel_shape=[2, 2], strides=[2, 2]),
          node("Resize", "d - scales", "f", mode="nearest"), node("Add", "e f", "g"),
          node("Concat", "c g", "s", axis=1), node("Conv", "s v", "y", kernel_shape=[1, 1])],
         [("w", kernel(ITSELF, LEFT)), ("one", np.ones(2, np.float32)), ("zero", np.zeros(2, np.float32)),
          ("u", np.arange(16, dtype=np.float32).reshape(2, 2, 2, 2) / 8), ("scales", np.float32([1, 1, 2, 2])),
          ("v", np.arange(8, dtype=np.float32).reshape(2, 4, 1, 1) / 4)])


def refused():
    conv = node("Conv", "x w", "y")
    image = [("x", FLOAT, DYNAMIC)]
    answer = [("y", FLOAT, [None] * 4)]
    save("two_inputs.onnx", image + [("z", FLOAT, DYNAMIC)], answer, [node("Add", "x z", "y")])
    save("two_outputs.onnx", image, [("y", FLOAT, DYNAMIC), ("z", FLOAT, DYNAMIC)],
         [node("Relu", "x", "y"), node("Neg", "x", "z")])
    save("colour.onnx", [("x", FLOAT, [1, 3, "h", "w"])], answer, [conv], [("w", np.ones((2, 3, 1, 1), np.float32))])
    save("volume.onnx", [("x", FLOAT, [1, 1, "d", "h", "w"])], [("y", FLOAT, [None] * 5)], [node("Relu", "x", "y")])
    save("valid.onnx", image, answer, [conv], [("w", kernel(ITSELF, LEFT))])
    save("labels.onnx", image, [("y", INT64, [None] * 4)],
         [node("Conv", "x w", "z", **SAME), node("ArgMax", "z", "y", axis=1)], [("w", kernel(ITSELF, LEFT))])
    # One padding where there must be four.
    save("padding.onnx", image, answer, [node("Conv", "x w", "y", kernel_shape=[3, 3], pads=[1])],
         [("w", kernel(ITSELF, LEFT))], check=False)
    save("operator.onnx", image, answer, [node("Deconvolve", "x", "y"), node("Ponder", "x", "z")], check=False)


def described():
    """Version 0.5: two independent answers, activation left to the description. Version 0.4: channels last."""
    save("bioimage_0_5/weights.onnx", [("raw", FLOAT, [None, 1, None, None])], [("scores", FLOAT, [None] * 4)],
         [node("Conv", "raw w b", "scores", **SAME)],
         [("w", kernel(ITSELF, LEFT)), ("b", np.array([-1, 0], np.float32))])
    save("bioimage_0_4/weights.onnx", [("x", FLOAT, [1, 2, 4, 1])], [("y", FLOAT, [1, 2, 4, 3])],
         [node("Transpose", "x", "t", perm=[0, 3, 1, 2]), node("Conv", "t w b", "z", **SAME),
          node("Softmax", "z", "s", axis=1), node("Transpose", "s", "y", perm=[0, 2, 3, 1])], [W3, B3])


if __name__ == "__main__":
    models()
    refused()
    described()
    for name in ["softmax.onnx", "fixed.onnx", "sigmoid.onnx", "unet.onnx", "bioimage_0_5/weights.onnx"]:
        show(name, IMAGE)
    show("bioimage_0_4/weights.onnx", IMAGE.reshape(1, 2, 4, 1))
