//! What translated images are called.

use std::path::{Path, PathBuf};

use super::file_name;

/// The input's own name; formats that are not written become PNG, or TIFF where they may hold more than 16 bits.
pub fn output_name(path: &Path) -> String {
    let name = file_name(path);
    let lower = name.to_lowercase();
    let without = |ending: &str| &name[..name.len() - ending.len()];
    let others = [
        (".nii.gz", ".tif"),
        (".nii", ".tif"),
        (".npy", ".tif"),
        (".jpeg", ".png"),
        (".jpg", ".png"),
        (".bmp", ".png"),
    ];
    let ending = others.iter().find(|(ending, _)| lower.ends_with(ending));
    ending.map_or_else(|| name.clone(), |(ending, written)| format!("{}{written}", without(ending)))
}

/// NAME_sd, before all of an ending such as `.ome.tif`.
pub fn deviation_path(path: &Path) -> PathBuf {
    let name = file_name(path);
    let lower = name.to_lowercase();
    let ending = [".ome.tiff", ".ome.tif"].into_iter().find(|ending| lower.ends_with(ending)).map(str::len);
    let stem = ending.map_or(path.file_stem().map_or(0, |stem| stem.len()), |length| name.len() - length);
    path.with_file_name(format!("{}_sd{}", &name[..stem], &name[stem..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_have_names_of_formats_that_are_written() {
        for (input, output) in [
            ("a/x.png", "x.png"),
            ("x.ome.tif", "x.ome.tif"),
            ("x.JPG", "x.png"),
            ("x.nii.gz", "x.tif"),
            ("x.1.bmp", "x.1.png"),
        ] {
            assert_eq!(output_name(Path::new(input)), output);
        }
        assert_eq!(deviation_path(Path::new("o/x.ome.tif")), Path::new("o/x_sd.ome.tif"));
        assert_eq!(deviation_path(Path::new("x.1.png")), Path::new("x.1_sd.png"));
    }
}
