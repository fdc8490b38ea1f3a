"""Python's tifffile as the judge of our TIFF files; run by `src/imaging/judged.rs`.

    judge_tiff.py write FOLDER   writes files of every layout, each NAME.tif with NAME.npy, the grey values it holds
    judge_tiff.py read FOLDER    says of each TIFF in the folder what tifffile finds in it, one JSON object a line
"""

import itertools
import json
import pathlib
import sys

import numpy as np
import tifffile

SHAPE = (70, 90)


def values(dtype, channels=1):
    """Numbers over the whole range of their kind."""
    generator = np.random.default_rng(7)
    shape = SHAPE if channels == 1 else (*SHAPE, channels)
    if np.dtype(dtype).kind == "f":
        return generator.normal(size=shape).astype(dtype)
    limits = np.iinfo(dtype)
    return generator.integers(limits.min, limits.max, size=shape, dtype=dtype, endpoint=True)


def grey(pixels):
    """The luma of Rec. 709 of colours; grey as it is."""
    if pixels.ndim == 2:
        return pixels.astype("f8")
    return (pixels[..., :3].astype("f8") * [0.2126, 0.7152, 0.0722]).sum(-1)


def write(folder):
    def save(name, pixels, truth=None, **options):
        tifffile.imwrite(folder / f"{name}.tif", pixels, **options)
        np.save(folder / f"{name}.npy", grey(pixels) if truth is None else truth)

    layouts = {"strips": {"rowsperstrip": 16}, "whole": {}, "tiles": {"tile": (32, 48)}}
    orders = {"little": "<", "big": ">"}
    for dtype in ["u1", "u2", "u4", "i1", "i2", "i4", "f2", "f4", "f8"]:
        for (layout, chunks), (order, mark) in itertools.product(layouts.items(), orders.items()):
            save(f"{dtype}_{layout}_{order}", values(dtype), byteorder=mark, **chunks)
            compressions = ["zlib", "packbits", "lzw", "zstd", "adobe_deflate"]
            for compression in compressions:
                name = f"{dtype}_{layout}_{order}_{compression}"
                save(name, values(dtype), byteorder=mark, compression=compression, **chunks)
            predictor = 3 if dtype[0] == "f" else 2
            name = f"{dtype}_{layout}_{order}_predictor"
            save(name, values(dtype), byteorder=mark, compression="zlib", predictor=predictor, **chunks)
        save(f"{dtype}_bigtiff", values(dtype), bigtiff=True, tile=(16, 16))
    for dtype, (layout, chunks) in itertools.product(["u1", "u2", "f4"], layouts.items()):
        colours = values(dtype, 3)
        save(f"{dtype}_{layout}_rgb", colours, photometric="rgb", **chunks)
        save(f"{dtype}_{layout}_rgb_predictor", colours, photometric="rgb", compression="zlib",
             predictor=3 if dtype == "f4" else 2, **chunks)
        save(f"{dtype}_{layout}_planar", np.moveaxis(colours, -1, 0), grey(colours), photometric="rgb",
             planarconfig="separate", compression="zlib", **chunks)
    save("rgba", values("u1", 4), photometric="rgb", extrasamples=["unassalpha"])
    grey_alpha = values("u1", 2)
    save("grey_alpha", grey_alpha, grey_alpha[..., 0].astype("f8"), photometric="minisblack", planarconfig="contig",
         extrasamples=["unassalpha"])
    bits = values("u1") > 100
    save("bilevel", bits, bits * 255.0, photometric="minisblack")
    smooth = np.add.outer(np.arange(64), np.arange(80)).astype("u1")
    for name, options in {"jpeg": {}, "jpeg_tiles": {"tile": (32, 32)}}.items():
        tifffile.imwrite(folder / f"{name}.tif", smooth, compression="jpeg", **options)
        np.save(folder / f"{name}.npy", tifffile.imread(folder / f"{name}.tif").astype("f8"))
    white = values("u1")
    save("miniswhite", white, 255.0 - white, photometric="miniswhite")
    palette = np.stack([np.arange(256), np.arange(256)[::-1], np.full(256, 9)]).astype("u2") * 257
    save("palette", white, grey(palette.T[white].astype("f8") / 257), photometric="palette", colormap=palette)
    sized(save)


def sized(save):
    """Files that say their pixel size, 0.0476 um in one way or another."""
    per_um = (2500, 119)
    options = {"resolution": (per_um, per_um)}
    save("size_imagej", values("u2"), imagej=True, metadata={"unit": "um"}, **options)
    save("size_imagej_micron", values("f4"), imagej=True, metadata={"unit": "\\u00B5m"}, **options)
    ome = {"axes": "YX", "PhysicalSizeX": 47.6, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.0476,
           "PhysicalSizeYUnit": "µm"}
    save("size_ome", values("u2"), ome=True, metadata=ome, tile=(32, 32), compression="zlib")
    save("size_centimetre", values("u1"), resolution=((25_000_000, 119),) * 2, resolutionunit="CENTIMETER")
    save("nosize_72_dpi", values("u1"), resolution=(72, 72), resolutionunit="INCH")


def read(folder):
    for path in sorted(folder.glob("*.tif")):
        with tifffile.TiffFile(path) as file:
            series, page = file.series[0], file.pages[0]
            size = None
            if file.is_ome:
                pixels = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"]
                size = pixels.get("PhysicalSizeX")
            elif file.is_imagej and "unit" in file.imagej_metadata:
                numerator, denominator = page.tags["XResolution"].value
                size = denominator / numerator
            found = {
                "name": path.name,
                "axes": series.axes,
                "shape": series.shape,
                "dtype": series.dtype.name,
                "pages": len(file.pages),
                "tiled": page.is_tiled,
                "ome": file.is_ome,
                "pixel_size_um": size,
                "values": series.asarray().astype("f8").ravel().tolist(),
            }
            print(json.dumps(found))


if __name__ == "__main__":
    {"write": write, "read": read}[sys.argv[1]](pathlib.Path(sys.argv[2]))
