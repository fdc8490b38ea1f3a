//! Charts of numbers over the epochs, one below the other, each with its legend beside it.

use std::path::Path;
use std::sync::OnceLock;

use image::{Rgb, RgbImage};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::axis::{Axis, Scale};
use super::{FAINT_INK, INK, Weight, place, save_png, text_picture};
use crate::error::Result;

/// Curves are drawn this many times as large and averaged down, since plotters draws thick lines with hard edges.
const OVERSAMPLING: u32 = 3;
/// The name under which plotters knows the embedded font.
const FONT: &str = "embedded";
/// Colours that colour-blind readers can tell apart too (Okabe and Ito 2008), without the yellow, which is too pale
/// for lines on white, and with a grey instead; then wine, olive and indigo of Paul Tol's muted scheme.
const COLORS: [RGBColor; 11] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
    RGBColor(150, 150, 150),
    RGBColor(136, 34, 85),
    RGBColor(153, 153, 51),
    RGBColor(51, 34, 136),
];
const GRID: RGBColor = RGBColor(226, 226, 226);
const FRAME: RGBColor = RGBColor(150, 150, 150);

/// Sizes in pixels of the finished picture.
const WIDTH: u32 = 1040;
const CHART_HEIGHT: u32 = 340;
const HEAD_HEIGHT: u32 = 40;
const MARGIN: u32 = 20;
const TITLE_SIZE: u32 = 22;
const TEXT_SIZE: u32 = 18;
/// Height of a line of the legend.
const LINE_HEIGHT: u32 = 24;
const SWATCH_WIDTH: u32 = 24;
/// Between a swatch and the name, and between the name and the value.
const GAP: u32 = 8;
/// The plot keeps at least half the width, whatever the names in the legend.
const WIDEST_LEGEND: u32 = WIDTH / 2;
/// With at most this many points a curve also shows them as dots: a single one would be invisible.
const FEW_POINTS: usize = 40;

/// A curve.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// What the legend calls it.
    pub name: String,
    /// (epoch, value), by rising epoch. A value that has no place on the chart (not finite, or not above 0 on a
    /// logarithmic scale) leaves a gap.
    pub points: Vec<(f64, f64)>,
}

/// Curves that share an axis. The colours repeat after eleven, and the legend has room for twelve.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// What stands above the chart: the quantity and its unit.
    pub title: String,
    /// How values are spread over the height.
    pub scale: Scale,
    /// The curves, in the order of the legend.
    pub series: Vec<Series>,
}

/// Writes the charts, one below the other, as a PNG file; `x_label` names what is counted from left to right.
///
/// # Errors
/// When the file cannot be written.
pub fn curves(path: &Path, x_label: &str, charts: &[Chart]) -> Result<()> {
    save_png(path, &draw_curves(x_label, charts))
}

/// The charts, one below the other.
pub fn draw_curves(x_label: &str, charts: &[Chart]) -> RgbImage {
    let legends: Vec<RgbImage> = charts.iter().map(draw_legend).collect();
    let legend_width = legends.iter().map(RgbImage::width).max().unwrap_or(0).min(WIDEST_LEGEND);
    let plot_width = WIDTH - legend_width - MARGIN;
    let mut canvas = RgbImage::from_pixel(WIDTH, CHART_HEIGHT * charts.len().max(1) as u32, super::WHITE);
    for ((chart, legend), top) in charts.iter().zip(&legends).zip((0..).step_by(CHART_HEIGHT as usize)) {
        place(&mut canvas, &draw_plot(plot_width, x_label, chart), 0, top + HEAD_HEIGHT);
        place(&mut canvas, &text_picture(&chart.title, TITLE_SIZE, Weight::Bold, INK), MARGIN, top + HEAD_HEIGHT / 4);
        place(&mut canvas, legend, plot_width, top + HEAD_HEIGHT);
    }
    canvas
}

/// Colour, name and last value (of those that have a place on the chart) of each curve.
fn draw_legend(chart: &Chart) -> RgbImage {
    let text = |text: &str, ink| text_picture(text, TEXT_SIZE, Weight::Regular, ink);
    let last = |series| runs(series, chart.scale).last().and_then(|run| run.last()).map(|point| short(point.1));
    let lines =
        chart.series.iter().map(|series| (text(&series.name, INK), text(&last(series).unwrap_or_default(), FAINT_INK)));
    let lines: Vec<_> = lines.collect();
    let left = SWATCH_WIDTH + GAP;
    let width = lines.iter().map(|(name, value)| left + name.width() + GAP + value.width()).max().unwrap_or(1);
    let mut canvas = RgbImage::from_pixel(width, (lines.len() as u32 * LINE_HEIGHT).max(1), super::WHITE);
    for (((name, value), color), top) in lines.iter().zip(colors()).zip((0..).step_by(LINE_HEIGHT as usize)) {
        let swatch = RgbImage::from_pixel(SWATCH_WIDTH, 3, Rgb([color.0, color.1, color.2]));
        place(&mut canvas, &swatch, 0, top + TEXT_SIZE / 2 + 1);
        place(&mut canvas, name, left, top);
        place(&mut canvas, value, left + name.width() + GAP, top);
    }
    canvas
}

/// The axes and the curves.
fn draw_plot(width: u32, x_label: &str, chart: &Chart) -> RgbImage {
    let (large_width, large_height) = (width * OVERSAMPLING, (CHART_HEIGHT - HEAD_HEIGHT) * OVERSAMPLING);
    let mut large = RgbImage::from_pixel(large_width, large_height, super::WHITE);
    {
        let area = BitMapBackend::with_buffer(&mut large, (large_width, large_height)).into_drawing_area();
        draw_curves_on(&area, x_label, chart).expect("drawing in memory with the embedded font cannot fail");
    }
    reduce(&large)
}

type Area<'a> = DrawingArea<BitMapBackend<'a>, plotters::coord::Shift>;
type Drawn<'a> = std::result::Result<(), DrawingAreaErrorKind<<BitMapBackend<'a> as DrawingBackend>::ErrorType>>;

fn draw_curves_on<'a>(area: &Area<'a>, x_label: &str, chart: &Chart) -> Drawn<'a> {
    let drawable = || chart.series.iter().flat_map(|series| runs(series, chart.scale)).flatten();
    let x_axis = Axis::of_counts(drawable().map(|point| point.0));
    let y_axis = Axis::of_values(drawable().map(|point| point.1), chart.scale);
    let mut context = ChartBuilder::on(area)
        .margin_right(px(MARGIN))
        .margin_top(px(6))
        .margin_bottom(px(8))
        .x_label_area_size(px(46))
        .y_label_area_size(px(76))
        .build_cartesian_2d(x_axis.clone(), y_axis.clone())?;
    context
        .configure_mesh()
        .x_desc(x_label)
        .axis_desc_style(label_style())
        .label_style(label_style())
        .x_label_formatter(&|tick| x_axis.label(*tick))
        .y_label_formatter(&|tick| y_axis.label(*tick))
        .bold_line_style(GRID.stroke_width(OVERSAMPLING))
        .light_line_style(TRANSPARENT)
        .axis_style(FRAME.stroke_width(OVERSAMPLING))
        .set_all_tick_mark_size(px(5))
        .draw()?;
    for (series, color) in chart.series.iter().zip(colors()) {
        for run in runs(series, chart.scale) {
            context.draw_series(LineSeries::new(run.iter().copied(), color.stroke_width(2 * OVERSAMPLING)))?;
            if series.points.len() <= FEW_POINTS {
                context.draw_series(run.iter().map(|&point| Circle::new(point, px(3), color.filled())))?;
            }
        }
    }
    if drawable().next().is_none() {
        let middle = label_style().pos(Pos::new(HPos::Center, VPos::Center));
        let (width, height) = context.plotting_area().dim_in_pixel();
        let (left, top) = context.plotting_area().get_base_pixel();
        let center = (left + width.cast_signed() / 2, top + height.cast_signed() / 2 - px(14));
        area.draw_text("no values yet", &middle, center)?;
    }
    Ok(())
}

/// The colours of the curves, from the start again after the last.
fn colors() -> impl Iterator<Item = RGBColor> {
    COLORS.into_iter().cycle()
}

/// The text along the axes.
fn label_style() -> TextStyle<'static> {
    static REGISTERED: OnceLock<()> = OnceLock::new();
    REGISTERED.get_or_init(|| {
        let registered = plotters::style::register_font(FONT, FontStyle::Normal, notosans::REGULAR_TTF).is_ok();
        assert!(registered, "the embedded font must be a font");
    });
    let mut style = TextStyle::from((FONT, px(TEXT_SIZE)).into_font());
    style.color.rgb = FAINT_INK.0.into();
    style
}

/// A length of the finished picture in the units of the drawing.
const fn px(length: u32) -> i32 {
    (length * OVERSAMPLING).cast_signed()
}

/// A picture reduced by [`OVERSAMPLING`]: each pixel is the mean of the square it stands for.
fn reduce(large: &RgbImage) -> RgbImage {
    let factor = OVERSAMPLING as usize;
    let (width, height) = (large.width() / OVERSAMPLING, large.height() / OVERSAMPLING);
    let row_bytes = width as usize * 3;
    let mut bytes = Vec::with_capacity(row_bytes * height as usize);
    for rows in large.as_raw().chunks_exact(row_bytes * factor * factor) {
        let mut sums = vec![0u32; row_bytes];
        for row in rows.chunks_exact(row_bytes * factor) {
            for (sum, square) in sums.chunks_exact_mut(3).zip(row.chunks_exact(3 * factor)) {
                for (index, &byte) in square.iter().enumerate() {
                    sum[index % 3] += u32::from(byte);
                }
            }
        }
        bytes.extend(sums.iter().map(|sum| (sum / OVERSAMPLING.pow(2)) as u8));
    }
    RgbImage::from_raw(width, height, bytes).expect("there are three bytes for each pixel")
}
/// The stretches of a series without gaps.
fn runs(series: &Series, scale: Scale) -> impl Iterator<Item = &[(f64, f64)]> {
    series.points.split(move |point| !scale.admits(point.1)).filter(|run| !run.is_empty())
}

/// A number with three significant digits.
fn short(value: f64) -> String {
    let magnitude = value.abs().log10().floor();
    match magnitude {
        -4.0..6.0 => format!("{value:.*}", (2.0 - magnitude).max(0.0) as usize).replace('-', "−"),
        _ if value == 0.0 => "0".to_owned(),
        _ => format!("{value:.2e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(name: &str, values: &[f64]) -> Series {
        let points = values.iter().enumerate().map(|(epoch, &value)| (epoch as f64, value)).collect();
        Series { name: name.to_owned(), points }
    }

    fn chart(scale: Scale, series: Vec<Series>) -> Chart {
        Chart { title: "loss".to_owned(), scale, series }
    }

    fn pixels_of(picture: &RgbImage, color: RGBColor) -> usize {
        picture.pixels().filter(|pixel| pixel.0 == [color.0, color.1, color.2]).count()
    }

    #[test]
    fn each_curve_has_its_colour_and_the_charts_stand_below_each_other() {
        let one = chart(Scale::Linear, vec![series("a", &[1.0, 0.5, 0.4]), series("b", &[0.2, 0.1, 0.3])]);
        let picture = draw_curves("epoch", &[one.clone(), one]);
        assert_eq!(picture.dimensions(), (WIDTH, 2 * CHART_HEIGHT));
        assert!(pixels_of(&picture, COLORS[0]) > 1000 && pixels_of(&picture, COLORS[1]) > 1000);
        assert_eq!(pixels_of(&picture, COLORS[2]), 0);
    }

    #[test]
    fn no_colour_is_close_to_another() {
        for (i, a) in COLORS.iter().enumerate() {
            for b in &COLORS[i + 1..] {
                let distance = a.0.abs_diff(b.0).max(a.1.abs_diff(b.1)).max(a.2.abs_diff(b.2));
                assert!(distance >= 48, "{a:?} and {b:?}");
            }
        }
    }

    #[test]
    fn values_without_a_place_leave_gaps() {
        let gappy = series("a", &[1.0, f64::NAN, 2.0, 0.0, 3.0, f64::INFINITY]);
        let lengths = |scale| runs(&gappy, scale).map(<[_]>::len).collect::<Vec<_>>();
        assert_eq!(lengths(Scale::Linear), [1, 3]);
        assert_eq!(lengths(Scale::Logarithmic), [1, 1, 1]);
    }

    #[test]
    fn charts_with_nothing_to_show_are_drawn() {
        for scale in [Scale::Linear, Scale::Logarithmic] {
            draw_curves("epoch", &[chart(scale, vec![]), chart(scale, vec![series("a", &[f64::NAN])])]);
        }
        draw_curves("epoch", &[]);
    }

    #[test]
    fn a_reduced_pixel_is_the_mean_of_its_square() {
        // Two squares: red in one column of three, and green in a single pixel of nine.
        let large = RgbImage::from_fn(6, 3, |x, y| match (x, y) {
            (1, _) => Rgb([255, 0, 0]),
            (5, 2) => Rgb([0, 90, 0]),
            _ => Rgb([0, 0, 0]),
        });
        assert_eq!(reduce(&large).into_raw(), [85, 0, 0, 0, 10, 0]);
    }

    #[test]
    fn the_last_value_is_shown_with_three_digits() {
        assert_eq!([0.012_34, -1.5, 123.4, 0.0].map(short), ["0.0123", "−1.50", "123", "0"]);
        assert_eq!(short(1.234e-7), "1.23e-7");
    }

    #[test]
    fn curves_are_written_where_they_are_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("curves.png");
        curves(&path, "epoch", &[chart(Scale::Logarithmic, vec![series("a", &[1.0, 0.1])])]).unwrap();
        assert_eq!(image::open(&path).unwrap().width(), WIDTH);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
