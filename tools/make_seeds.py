# /// script
# requires-python = ">=3.10"
# dependencies = ["imagecodecs", "nibabel", "numpy", "pillow", "tifffile"]
# ///
"""Makes the small files in tests/seeds, from which damaged files are drawn (docs/fuzzing.md).

Images show one gradient of 24 x 20 pixels, so that files stay below a few kilobytes, in as many ways as images are
stored. Weights are two small tensors as PyTorch and nnU-Net save them; PyTorch itself is not needed.
"""

import io
import pathlib
import pickle
import struct
import sys
import types
import zipfile
from collections import OrderedDict

import nibabel
import numpy as np
import tifffile
from PIL import Image

HEIGHT, WIDTH = 20, 24


def gradient(dtype):
    """Numbers that use much of the range of their kind."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    unit = (31 * y + 17 * x) % 256 / 255.0
    if np.dtype(dtype).kind == "f":
        return unit.astype(dtype)
    return (unit * np.iinfo(dtype).max).astype(dtype)


def tiffs(folder):
    for dtype in ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float16", "float32", "float64"]:
        tifffile.imwrite(folder / f"strips_{dtype}.tif", gradient(dtype), rowsperstrip=8)
    for compression in ["lzw", "zlib", "packbits", "zstd"]:
        tifffile.imwrite(folder / f"{compression}.tif", gradient("uint16"), compression=compression, rowsperstrip=8)
    for dtype, predictor in [("uint8", 2), ("uint16", 2), ("float32", 3)]:
        tifffile.imwrite(folder / f"predictor_{dtype}.tif", gradient(dtype), compression="zlib", predictor=predictor)
    tiles = {"tile": (16, 16), "compression": "zlib"}
    tifffile.imwrite(folder / "tiles.tif", gradient("uint16"), **tiles)
    tifffile.imwrite(folder / "tiles_jpeg.tif", gradient("uint8"), tile=(16, 16), compression="jpeg")
    tifffile.imwrite(folder / "tiles.btf", gradient("uint16"), bigtiff=True, byteorder=">", **tiles)
    colour = np.stack([gradient("uint8")] * 3, axis=-1)
    tifffile.imwrite(folder / "colour.tif", colour, photometric="rgb")
    tifffile.imwrite(folder / "colour_planes.tif", np.moveaxis(colour, -1, 0), photometric="rgb", planarconfig="separate")
    tifffile.imwrite(folder / "bilevel.tif", gradient("uint8") > 99, photometric="minisblack")
    size = {"PhysicalSizeX": 0.1, "PhysicalSizeXUnit": "um", "PhysicalSizeY": 0.1, "PhysicalSizeYUnit": "um"}
    tifffile.imwrite(folder / "size.ome.tif", gradient("uint8"), ome=True, metadata={"axes": "YX", **size})
    tifffile.imwrite(folder / "pages.tif", np.stack([gradient("uint8")] * 3), photometric="minisblack")
    tifffile.imwrite(folder / "imagej.tif", np.stack([gradient("uint8")] * 2), imagej=True, metadata={"unit": "um"})
    with tifffile.TiffWriter(folder / "pyramid.tif") as writer:
        writer.write(gradient("uint8"), subifds=1)
        writer.write(gradient("uint8")[::2, ::2], subfiletype=1)
    palette = Image.fromarray(gradient("uint8") // 64, mode="P")
    palette.putpalette(list(range(12)))
    palette.save(folder / "palette.tif")


def photographs(folder):
    grey = Image.fromarray(gradient("uint8"))
    colour = Image.merge("RGB", [grey, grey.rotate(180), grey])
    for name, image in [("grey", grey), ("colour", colour)]:
        image.save(folder / f"{name}.png")
        image.save(folder / f"{name}.jpg")
        image.save(folder / f"{name}.bmp")
    Image.fromarray(gradient("uint16")).save(folder / "sixteen.png", dpi=(25400, 25400))
    colour.convert("RGBA").save(folder / "alpha.png")
    colour.quantize(8).save(folder / "palette.png")
    grey.convert("1").save(folder / "bilevel.png")
    colour.quantize(8).save(folder / "palette.bmp")
    colour.save(folder / "progressive.jpg", progressive=True)
    colour.convert("CMYK").save(folder / "cmyk.jpg")


def arrays(folder):
    for name, array in [
        ("float.npy", gradient("float32")),
        ("big_endian.npy", gradient(">u2")),
        ("fortran.npy", np.asfortranarray(gradient("int32"))),
        ("truth.npy", gradient("uint8") > 99),
        ("slices.npy", np.stack([gradient("float64")] * 2)),
    ]:
        np.save(folder / name, array)
    nibabel.save(nibabel.Nifti1Image(gradient("int16")[..., None], np.eye(4)), folder / "slice.nii")
    nibabel.save(nibabel.Nifti1Image(np.stack([gradient("uint8")] * 2, axis=-1), np.eye(4)), folder / "slices.nii.gz")


class FloatStorage:
    """Stands for torch.FloatStorage, under whose name it is pickled."""


def rebuild_tensor(*arguments):
    """Stands for torch._utils._rebuild_tensor_v2."""


class Tensor:
    """A tensor of PyTorch in the storage `key`, as pickles describe it."""

    def __init__(self, key, shape, strides):
        self.key, self.shape, self.strides = key, shape, strides

    def __reduce__(self):
        storage = Storage(self.key, 6)
        return rebuild_tensor, (storage, 0, self.shape, self.strides, False, OrderedDict())


class Storage:
    def __init__(self, key, count):
        self.key, self.count = key, count


class TorchPickler(pickle.Pickler):
    is_legacy = False

    def persistent_id(self, value):
        if isinstance(value, Storage):
            identity = ("storage", FloatStorage, value.key, "cpu", value.count)
            return (*identity, None) if self.is_legacy else identity
        return None


def pickled(value, pickler=TorchPickler, protocol=2):
    buffer = io.BytesIO()
    pickler(buffer, protocol).dump(value)
    return buffer.getvalue()


def weights(folder):
    modules = {"torch": [FloatStorage], "torch._utils": [rebuild_tensor]}
    for name, members in modules.items():
        sys.modules[name] = types.ModuleType(name)
        for member in members:
            member.__module__ = name
            member.__qualname__ = member.__name__ = member.__name__.replace("rebuild_tensor", "_rebuild_tensor_v2")
            setattr(sys.modules[name], member.__name__, member)
    state = OrderedDict([("module.a.weight", Tensor("0", (2, 3), (3, 1))), ("module.a.bias", Tensor("1", (6,), (1,)))])
    checkpoint = {
        "network_weights": state,
        "current_epoch": 3,
        "init_args": {"configuration": "2d", "fold": 0},
        "trainer_name": "nnUNetTrainer",
        "inference_allowed_mirroring_axes": (0, 1),
    }
    storages = [np.arange(6, dtype="<f4").tobytes()] * 2
    for name, value in [("state_dict", state), ("nnunet", checkpoint)]:
        for protocol in [2, 4]:
            entries = {"data.pkl": pickled(value, protocol=protocol), "byteorder": "little", "version": "3\n"}
            entries |= {f"data/{key}": storage for key, storage in enumerate(storages)}
            with zipfile.ZipFile(folder / f"{name}_{protocol}.pth", "w") as file:
                for entry, content in entries.items():
                    # Without the time of today, so that the file is the same each time.
                    file.writestr(zipfile.ZipInfo(f"archive/{entry}"), content)
        legacy(folder / f"{name}_legacy.pth", value, storages)
    (folder / "plain.pkl").write_bytes(pickle.dumps({"a": [1, 2.5, None, True, "text"], "b": (b"bytes", {"c": 2**40})}, 2))


def legacy(path, value, storages):
    """The layout of PyTorch before 1.6: pickles one after the other, then each storage with its count."""
    pickler = type("Legacy", (TorchPickler,), {"is_legacy": True})
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    parts = [0x1950A86A20F9469CFC6C, 1001, system, value, ["0", "1"]]
    content = b"".join(pickled(part, pickler) for part in parts)
    path.write_bytes(content + b"".join(struct.pack("<q", len(storage) // 4) + storage for storage in storages))


if __name__ == "__main__":
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "tests/seeds")
    for kind, makers in {"images": [tiffs, photographs, arrays], "weights": [weights]}.items():
        folder = root / kind
        folder.mkdir(parents=True, exist_ok=True)
        for make in makers:
            make(folder)
