//! The side of a pixel from what a TIFF file says: its description (OME, ImageJ) or its resolution.

/// The side of a pixel in micrometres, if the tags `ImageDescription`, `XResolution` and `ResolutionUnit` tell it.
///
/// Microscopy software writes the description; the resolution alone counts unless it is a screen or printer default.
pub(super) fn pixel_size_um(description: &str, resolution: Option<f64>, unit: Option<u16>) -> Option<f64> {
    let size = ome_pixel_size_um(description).or_else(|| resolution_to_um(resolution?, unit, description))?;
    (size.is_finite() && size > 0.0).then_some(size)
}

/// `PhysicalSizeX` of the first image of an OME-TIFF; its unit is the micrometre unless given.
fn ome_pixel_size_um(description: &str) -> Option<f64> {
    let attribute = |name: &str| {
        let (_, rest) = description.split_once(&format!(" {name}=\""))?;
        rest.split_once('"').map(|(value, _)| value)
    };
    let size: f64 = attribute("PhysicalSizeX")?.parse().ok()?;
    Some(size * attribute("PhysicalSizeXUnit").map_or(Some(1.0), unit_in_um)?)
}

/// Resolutions that programs write without knowing the scale, in dots per inch, and 1 in any unit.
const SCREEN_DPI: [f64; 11] = [1.0, 72.0, 75.0, 96.0, 100.0, 150.0, 200.0, 300.0, 400.0, 600.0, 1200.0];

const UM_PER_INCH: f64 = 25_400.0;
const UM_PER_CM: f64 = 10_000.0;

/// `XResolution` (pixels per unit) as a pixel size, or nothing when it is a screen or printer default.
fn resolution_to_um(resolution: f64, unit: Option<u16>, description: &str) -> Option<f64> {
    let imagej_unit = description
        .starts_with("ImageJ=")
        .then(|| description.lines().find_map(|line| line.strip_prefix("unit=")))
        .flatten()
        .map(str::trim);
    let um_per_unit = match (imagej_unit, unit) {
        (Some(name), _) if name != "inch" => return Some(unit_in_um(name)? / resolution),
        // Values of the tag ResolutionUnit (TIFF 6.0, page 18); a missing one means inches.
        (Some(_), _) | (None, None | Some(2)) => UM_PER_INCH,
        (None, Some(3)) => UM_PER_CM,
        (None, Some(_)) => return None,
    };
    let dpi = resolution * UM_PER_INCH / um_per_unit;
    // Half a percent: 72 dpi is often stored as 28 or 28.35 pixels per centimetre.
    let is_default = resolution == 1.0 || SCREEN_DPI.iter().any(|default| (dpi / default - 1.0).abs() < 0.005);
    (!is_default).then_some(um_per_unit / resolution)
}

fn unit_in_um(name: &str) -> Option<f64> {
    match name {
        "micron" | "microns" | "micrometer" | "micrometre" | "um" | "\u{b5}m" | "\u{3bc}m" | "\\u00B5m"
        | "\u{fffd}m" => Some(1.0),
        "nm" | "nanometer" => Some(1e-3),
        "mm" | "millimeter" => Some(1e3),
        "cm" => Some(UM_PER_CM),
        "m" => Some(1e6),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INCH: Option<u16> = Some(2);
    const CM: Option<u16> = Some(3);
    const NONE: Option<u16> = Some(1);

    fn close(found: Option<f64>, expected: f64) -> bool {
        found.is_some_and(|found| (found / expected - 1.0).abs() < 1e-9)
    }

    #[test]
    fn resolutions_in_inches_and_centimetres_become_micrometres() {
        assert!(close(resolution_to_um(254_000.0, INCH, ""), 0.1));
        assert!(close(resolution_to_um(254_000.0, None, ""), 0.1));
        assert!(close(resolution_to_um(100_000.0, CM, ""), 0.1));
    }

    #[test]
    fn screen_and_printer_defaults_are_no_pixel_size() {
        for dpi in [1.0, 72.0, 96.0, 300.0] {
            assert_eq!(resolution_to_um(dpi, INCH, ""), None);
            assert_eq!(resolution_to_um(dpi / 2.54, CM, ""), None);
        }
        assert_eq!(resolution_to_um(28.35, CM, ""), None);
        assert_eq!(resolution_to_um(1.0, CM, ""), None);
        assert_eq!(resolution_to_um(72.0, INCH, "ImageJ=1.53t\nunit=inch\n"), None);
    }

    #[test]
    fn a_resolution_without_unit_counts_only_with_the_unit_of_imagej() {
        assert_eq!(resolution_to_um(10.0, NONE, ""), None);
        assert_eq!(resolution_to_um(10.0, NONE, "unit=micron"), None);
        for unit in ["micron", "um", "\u{b5}m", "\\u00B5m", "\u{fffd}m"] {
            assert!(close(resolution_to_um(10.0, NONE, &format!("ImageJ=1.53t\nimages=1\nunit={unit}\n")), 0.1));
        }
        assert!(close(resolution_to_um(0.2, NONE, "ImageJ=1.53t\nunit=nm\n"), 0.005));
        assert_eq!(resolution_to_um(10.0, NONE, "ImageJ=1.53t\nunit=pixel\n"), None);
    }

    #[test]
    fn a_resolution_of_zero_or_infinity_is_no_pixel_size() {
        assert_eq!(pixel_size_um("", Some(0.0), CM), None);
        assert_eq!(pixel_size_um("", Some(f64::INFINITY), CM), None);
        assert_eq!(pixel_size_um("", None, CM), None);
    }

    #[test]
    fn an_ome_description_gives_the_physical_size() {
        let ome = |unit: &str| format!(r#"<OME><Pixels SizeX="512" PhysicalSizeX="65" {unit}></OME>"#);
        assert!(close(ome_pixel_size_um(&ome("")), 65.0));
        assert!(close(ome_pixel_size_um(&ome(r#"PhysicalSizeXUnit="nm""#)), 0.065));
        assert_eq!(ome_pixel_size_um(&ome(r#"PhysicalSizeXUnit="pixel""#)), None);
        assert_eq!(ome_pixel_size_um("a scan"), None);
    }
}
