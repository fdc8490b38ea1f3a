//! The side of a pixel from what a TIFF file says: its description (OME, ImageJ) or its resolution.

use super::directory::{Directory, TiffFile};
use super::tag;
use crate::imaging::read::Reason;

/// What is known of the side of a pixel.
#[derive(Debug, Clone, PartialEq, Default)]
pub(in crate::imaging) struct PixelSize {
    /// In micrometres.
    pub(in crate::imaging) um: Option<f64>,
    /// What the user should know of it.
    pub(in crate::imaging) note: Option<String>,
}

impl PixelSize {
    /// From width and height of a pixel in micrometres, if they are sizes at all.
    pub(in crate::imaging) fn of_sides(width: Option<f64>, height: Option<f64>) -> Self {
        let valid = |size: &f64| size.is_finite() && *size > 0.0;
        let Some(width) = width.filter(valid) else { return Self::default() };
        // Half a percent: sides are rounded when they are stored.
        match height.filter(valid).filter(|height| (height / width - 1.0).abs() > 0.005) {
            None => Self { um: Some(width), note: None },
            Some(height) => {
                let mean = (width * height).sqrt();
                let note = format!(
                    "pixels are not square, {} um wide and {} um high; {} um, the side of a square of the same area, is \
                     used",
                    short(width),
                    short(height),
                    short(mean)
                );
                Self { um: Some(mean), note: Some(note) }
            }
        }
    }
}

/// Up to four digits after the point of a number between 1 and 10.
fn short(size: f64) -> String {
    let digits = (4 - size.log10().floor() as i32).clamp(0, 12) as usize;
    format!("{size:.digits$}").trim_end_matches('0').trim_end_matches('.').to_string()
}

/// The pixel size of a page. Microscopy software writes a description, which for OME is that of the first page only; the
/// resolution alone counts unless it is a screen or printer default.
pub(super) fn of(file: &mut TiffFile, directory: &Directory, first: &str, own: &str) -> Reason<PixelSize> {
    let ome = [own, first].into_iter().find_map(ome_sides);
    if let Some([width, height]) = ome {
        return Ok(PixelSize::of_sides(width, height));
    }
    let unit = file.integer_of(directory, tag::RESOLUTION_UNIT)?;
    // The scale of a stack of ImageJ stands in its first page.
    let description = if own.starts_with("ImageJ=") { own } else { first };
    let sides = [tag::X_RESOLUTION, tag::Y_RESOLUTION].map(|tag| {
        let fraction = file.fraction_of(directory, tag).ok().flatten()?;
        resolution_to_um(fraction, unit, description)
    });
    Ok(PixelSize::of_sides(sides[0], sides[1]))
}

/// `PhysicalSizeX` and `PhysicalSizeY` of the first image of an OME-TIFF; their unit is the micrometre unless given.
fn ome_sides(description: &str) -> Option<[Option<f64>; 2]> {
    let start = description.find("<Pixels").or_else(|| description.find(":Pixels"))?;
    let element = description[start..].split('>').next()?;
    let side = |name: &str| {
        let size: f64 = attribute(element, name)?.trim().parse().ok()?;
        Some(size * attribute(element, &format!("{name}Unit")).map_or(Some(1.0), unit_in_um)?)
    };
    attribute(element, "PhysicalSizeX").map(|_| ["PhysicalSizeX", "PhysicalSizeY"].map(side))
}

/// The value of an attribute of an XML element.
fn attribute<'a>(element: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = element;
    while let Some(place) = rest.find(name) {
        let is_whole = rest[..place].ends_with(char::is_whitespace);
        rest = &rest[place + name.len()..];
        let value = rest.trim_start().strip_prefix('=').map(str::trim_start);
        if let Some(value) = value.filter(|_| is_whole) {
            let quote = value.chars().next().filter(|quote| ['"', '\''].contains(quote))?;
            return value[1..].split(quote).next();
        }
    }
    None
}

/// Resolutions that programs write without knowing the scale, in dots per inch, and 1 in any unit.
const SCREEN_DPI: [f64; 11] = [1.0, 72.0, 75.0, 96.0, 100.0, 150.0, 200.0, 300.0, 400.0, 600.0, 1200.0];

const UM_PER_INCH: f64 = 25_400.0;
const UM_PER_CM: f64 = 10_000.0;

/// Whether dots per inch are those of a screen or a printer and say nothing of what is seen in the image.
pub(in crate::imaging) fn is_default_resolution(dpi: f64) -> bool {
    // Half a percent: 72 dpi is often stored as 28 or 28.35 pixels per centimetre.
    SCREEN_DPI.iter().any(|default| (dpi / default - 1.0).abs() < 0.005)
}

/// A resolution (numerator and denominator of pixels per unit) as a pixel size, or nothing when it is a default.
fn resolution_to_um([n, d]: [u32; 2], unit: Option<u64>, description: &str) -> Option<f64> {
    // Divided the other way round, a size that was stored as a fraction comes back to the last digit.
    let units = f64::from(d) / f64::from(n);
    let imagej_unit = description
        .starts_with("ImageJ=")
        .then(|| description.lines().find_map(|line| line.strip_prefix("unit=")))
        .flatten()
        .map(str::trim);
    let um_per_unit = match (imagej_unit, unit) {
        (Some(name), _) if !["inch", "in", "\""].contains(&name) => return Some(unit_in_um(name)? * units),
        // Values of the tag ResolutionUnit (TIFF 6.0, page 18); a missing one means inches.
        (Some(_), _) | (None, None | Some(2)) => UM_PER_INCH,
        (None, Some(3)) => UM_PER_CM,
        (None, Some(_)) => return None,
    };
    let is_default = n == d || is_default_resolution(UM_PER_INCH / (um_per_unit * units));
    (!is_default).then_some(um_per_unit * units)
}

/// How many micrometres a unit has, by the names that OME and ImageJ use.
fn unit_in_um(name: &str) -> Option<f64> {
    match name.trim().to_lowercase().as_str() {
        "micron" | "microns" | "micrometer" | "micrometre" | "micrometers" | "um" | "\u{b5}m" | "\u{3bc}m"
        | "\\u00b5m" | "\\u03bcm" | "\u{fffd}m" | "&#181;m" | "&#xb5;m" | "&#956;m" | "&micro;m" => Some(1.0),
        "nm" | "nanometer" | "nanometre" | "nanometers" => Some(1e-3),
        "\u{c5}" | "\u{e5}" | "angstrom" => Some(1e-4),
        "pm" => Some(1e-6),
        "mm" | "millimeter" | "millimetre" | "millimeters" => Some(1e3),
        "cm" | "centimeter" | "centimetre" => Some(UM_PER_CM),
        "m" | "meter" | "metre" => Some(1e6),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INCH: Option<u64> = Some(2);
    const CM: Option<u64> = Some(3);
    const NONE: Option<u64> = Some(1);

    fn close(found: Option<f64>, expected: f64) -> bool {
        found.is_some_and(|found| (found / expected - 1.0).abs() < 1e-9)
    }

    #[test]
    fn resolutions_in_inches_and_centimetres_become_micrometres() {
        assert!(close(resolution_to_um([254_000, 1], INCH, ""), 0.1));
        assert!(close(resolution_to_um([254_000, 1], None, ""), 0.1));
        assert!(close(resolution_to_um([1_000_000, 10], CM, ""), 0.1));
    }

    #[test]
    fn screen_and_printer_defaults_are_no_pixel_size() {
        for dpi in [1, 72, 96, 300] {
            assert_eq!(resolution_to_um([dpi, 1], INCH, ""), None);
            assert_eq!(resolution_to_um([dpi * 100, 254], CM, ""), None);
        }
        assert_eq!(resolution_to_um([2835, 100], CM, ""), None);
        assert_eq!(resolution_to_um([1, 1], CM, ""), None);
        assert_eq!(resolution_to_um([72, 1], INCH, "ImageJ=1.53t\nunit=inch\n"), None);
        assert!(close(resolution_to_um([254_000, 1], NONE, "ImageJ=1.53t\nunit=inch\n"), 0.1));
    }

    #[test]
    fn a_resolution_without_unit_counts_only_with_the_unit_of_imagej() {
        assert_eq!(resolution_to_um([10, 1], NONE, ""), None);
        assert_eq!(resolution_to_um([10, 1], NONE, "unit=micron"), None);
        for unit in ["micron", "um", "\u{b5}m", "\\u00B5m", "\u{fffd}m"] {
            let description = format!("ImageJ=1.53t\nimages=1\nunit={unit}\n");
            assert!(close(resolution_to_um([10, 1], NONE, &description), 0.1), "{unit}");
        }
        assert!(close(resolution_to_um([1, 5], NONE, "ImageJ=1.53t\nunit=nm\n"), 0.005));
        assert!(close(resolution_to_um([100, 1], NONE, "ImageJ=1.53t\nunit=mm\n"), 10.0));
        assert_eq!(resolution_to_um([10, 1], NONE, "ImageJ=1.53t\nunit=pixel\n"), None);
    }

    #[test]
    fn a_size_that_is_not_a_positive_number_is_none() {
        for resolution in [[0, 1], [1, 0], [0, 0]] {
            let size = resolution_to_um(resolution, CM, "ImageJ=1\nunit=um\n");
            assert_eq!(PixelSize::of_sides(size, size), PixelSize::default());
        }
    }

    #[test]
    fn an_ome_description_gives_the_physical_size() {
        let ome = |unit: &str| format!(r#"<OME><Pixels SizeX="512" PhysicalSizeX="65" {unit}></OME>"#);
        let width = |text: &str| ome_sides(text).and_then(|sides| sides[0]);
        assert!(close(width(&ome("")), 65.0));
        assert!(close(width(&ome(r#"PhysicalSizeXUnit="nm""#)), 0.065));
        assert!(close(width(&ome("PhysicalSizeXUnit='\u{b5}m'")), 65.0));
        assert!(close(width(&ome("PhysicalSizeXUnit = 'mm'")), 65_000.0));
        assert_eq!(width(&ome(r#"PhysicalSizeXUnit="pixel""#)), None);
        assert_eq!(ome_sides("a scan"), None);
        let both = r#"<ome:Pixels PhysicalSizeXUnit="nm" PhysicalSizeY="0.2" PhysicalSizeX="100"/>"#;
        assert_eq!(ome_sides(both), Some([Some(0.1), Some(0.2)]));
    }

    #[test]
    fn pixels_that_are_not_square_are_told_of() {
        let size = PixelSize::of_sides(Some(0.1), Some(0.4));
        assert!(close(size.um, 0.2));
        assert!(size.note.unwrap().contains("0.1 um wide and 0.4 um high; 0.2 um"));
        assert_eq!(PixelSize::of_sides(Some(0.1), Some(0.1001)).note, None);
    }
}
