use std::fs;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::Rgba;

use super::overlays::{Indexed, paint};
use super::pictures::{LONGEST_SIDE, indexed_png, shown_size};
use super::*;
use crate::random::Stream;

const CLEAR: Rgba<u8> = Rgba([0; 4]);

fn figure(name: &str, value: f64) -> Figure {
    Figure { name: name.into(), value: Some(value) }
}

fn panel(name: &str, score: Option<f64>, figures: Vec<Figure>) -> Panel {
    Panel { name: name.into(), score, figures, warnings: Vec::new(), pictures: Vec::new() }
}

fn picture(grey: Plane, overlay: Option<Overlay>) -> Picture {
    Picture { caption: "source".into(), grey, overlay }
}

fn gallery(title: &str, panels: Vec<Panel>) -> Gallery {
    Gallery { title: title.into(), intro: String::new(), panels, reviewed: Reviewed::Yes }
}

fn report_of(panels: Vec<Panel>) -> Report {
    Report { galleries: vec![gallery("images", panels)], ..Report::default() }
}

/// The page of one picture.
fn page_of(picture: Picture) -> String {
    let pictures = vec![picture];
    page::render(&report_of(vec![Panel { pictures, ..panel("a", None, Vec::new()) }]))
}

/// The embedded pictures of a page, in order.
fn embedded(html: &str) -> Vec<image::DynamicImage> {
    let encoded = html.split("<img src=\"data:image/").skip(1);
    let texts = encoded.map(|text| text.split_once("base64,").unwrap().1.split('"').next().unwrap());
    texts.map(|text| image::load_from_memory(&STANDARD.decode(text).unwrap()).unwrap()).collect()
}

/// Ends everything that the page could have it in, and would run.
const EVIL: &str = "</title></style></script><script>alert(\"1\" + '2')</script>&";
const HARMLESS: &str = "&lt;&#x2f;title&gt;&lt;&#x2f;style&gt;&lt;&#x2f;script&gt;\
                        &lt;script&gt;alert(&quot;1&quot; + &#x27;2&#x27;)&lt;&#x2f;script&gt;&amp;";

fn evil(place: &str) -> String {
    format!("{place}{EVIL}")
}

/// A report with [`EVIL`] in every text.
fn evil_report() -> Report {
    let overlay = Overlay::Labels(LabelMap::new(1, 1, vec![1]));
    let pictures = vec![Picture { caption: evil("picture"), ..picture(Plane::new(1, 1, vec![0.5]), Some(overlay)) }];
    let warnings = vec![evil("warning")];
    let panel = Panel { warnings, pictures, ..panel(&evil("panel"), Some(0.5), vec![figure(&evil("figure"), 1.0)]) };
    let cells = |cell| vec![evil(cell), evil(cell)];
    Report {
        title: evil("title"),
        answer: vec![evil("answer"), evil("paragraph")],
        look_first: vec![
            LookFirst { image: evil("panel"), reason: evil("reason") },
            LookFirst { image: evil("missing"), reason: evil("reason") },
        ],
        classes: vec![evil("background"), evil("class")],
        galleries: vec![Gallery { intro: evil("intro"), ..gallery(&evil("gallery"), vec![panel]) }],
        tables: vec![ReportTable {
            title: evil("table"),
            caption: evil("caption"),
            header: cells("header"),
            rows: vec![cells("cell")],
        }],
        curves: vec![Curve { caption: evil("curve"), png: Vec::new() }],
        notes: vec![evil("note")],
        settings: vec![
            Setting { name: evil("setting"), value: evil("value") },
            Setting { name: evil("file"), value: evil("lines") + "\n" },
        ],
    }
}

#[test]
fn the_page_escapes_what_comes_from_data() {
    let html = page::render(&evil_report());
    for tag in ["<script", "</script>", "</style>", "</title>"] {
        assert_eq!(html.matches(tag).count(), 1, "{tag}");
    }
    assert!(!html.contains("alert(\"1"));
    let places = "title answer paragraph missing reason class gallery intro panel figure warning picture table caption \
                  header cell curve note setting value file lines";
    for place in places.split_whitespace() {
        assert!(html.contains(&format!("{place}{HARMLESS}")), "{place}");
    }
}

#[test]
fn the_page_loads_nothing_from_elsewhere() {
    let overlay = Overlay::Heat(Plane::new(2, 2, vec![0.5; 4]));
    let html = page_of(picture(Plane::new(2, 2, vec![0.5; 4]), Some(overlay)));
    for attribute in [" src=\"", " href=\""] {
        let mut values = html.split(attribute).skip(1);
        assert!(values.all(|value| value.starts_with("data:") || value.starts_with('#')), "{attribute}");
    }
    assert!(["http:", "https:", "@import", "url("].iter().all(|way| !html.contains(way)));
    assert!(html.contains("default-src 'none'"));
}

#[test]
fn the_images_table_has_a_column_for_every_figure() {
    let warned = Panel { warnings: vec!["dark".into(), "blurred, too".into()], ..panel("a", Some(0.25), Vec::new()) };
    let galleries = vec![
        gallery("first", vec![panel("b", None, vec![figure("Dice", 0.5)]), warned]),
        gallery("second", vec![panel("b", Some(f64::NAN), vec![figure("lost", 3.0), figure("Dice", 1.0)])]),
    ];
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &Report { galleries, ..Report::default() }).unwrap();
    let table = fs::read_to_string(folder.path().join("images.csv")).unwrap();
    let expected = [
        "gallery,image,score,Dice,lost,warnings",
        "first,b,,0.5,,",
        "first,a,0.25,,,\"dark; blurred, too\"",
        "second,b,,1,3,",
        "",
    ];
    assert_eq!(table, expected.join("\n"));
}

#[test]
fn the_json_has_all_but_pictures() {
    let curves = vec![Curve { caption: "losses".into(), png: vec![1; 1000] }];
    let pictures = vec![picture(Plane::new(1, 1, vec![0.5]), None)];
    let panels = vec![Panel { pictures, ..panel("a", Some(0.5), vec![figure("PSNR", f64::INFINITY)]) }];
    let report = Report { curves, ..report_of(panels) };
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("new folder"), &report).unwrap();
    let text = fs::read_to_string(folder.path().join("new folder/report.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let shown = &json["galleries"][0];
    assert_eq!(shown["reviewed"], "yes");
    assert_eq!(
        shown["panels"][0],
        serde_json::json!({"name": "a", "score": 0.5, "figures": [{"name": "PSNR", "value": null}], "warnings": []})
    );
    assert_eq!(json["curves"], serde_json::json!([{"caption": "losses"}]));
}

#[test]
fn two_images_of_one_name_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let twice = report_of(vec![panel("nerve", None, Vec::new()), panel("nerve", None, Vec::new())]);
    let error = write(folder.path(), &twice).unwrap_err().to_string();
    assert_eq!(error, "the images \"images\" of the report have two named nerve; give each its own name");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn links_lead_to_the_panel_of_that_name_and_to_nowhere_when_there_is_none() {
    let first = |image: &str| LookFirst { image: image.into(), reason: "low".into() };
    let panels = vec![panel("a", None, Vec::new()), panel("b", None, Vec::new())];
    let html = page::render(&Report { look_first: vec![first("b"), first("missing")], ..report_of(panels) });
    assert!(html.contains("<a href=\"#panel-0-1\">b</a>") && html.contains("id=\"panel-0-1\""));
    assert!(html.contains("<b>missing</b>"));
}

#[test]
fn reports_with_other_content_keep_their_flags_apart() {
    let key = |score| {
        let html = page::render(&Report { title: "T".into(), ..report_of(vec![panel("a", Some(score), Vec::new())]) });
        html.split("data-key=\"").nth(1).unwrap().split('"').next().unwrap().to_string()
    };
    assert_eq!(key(0.5), key(0.5));
    assert_ne!(key(0.5), key(0.25));
    assert!(key(0.5).contains("review: T "));
}

#[test]
fn large_pictures_are_reduced_with_their_overlays() {
    assert_eq!(shown_size([720, 10]), [720, 10]);
    assert_eq!(shown_size([1440, 101]), [720, 51]);
    assert_eq!(shown_size([1, 5000]), [1, LONGEST_SIDE]);
    let grey = Plane::from_fn(400, 800, |y, x| ((y + x) % 7) as f32 / 7.0);
    let html = page_of(picture(grey, Some(Overlay::Labels(LabelMap::new(400, 800, vec![1; 320_000])))));
    let sizes: Vec<_> = embedded(&html).iter().map(|image| (image.width(), image.height())).collect();
    assert_eq!(sizes, [(720, 360), (720, 360)]);
}

#[test]
fn photographs_become_jpeg_and_drawings_png() {
    let noise = Stream::new(1);
    let photograph = Plane::from_fn(64, 64, |y, x| (0.5 + 0.2 * noise.normal_at(y, x)).clamp(0.0, 1.0));
    assert!(page_of(picture(photograph, None)).contains("src=\"data:image/jpeg;base64,"));
    let drawing = Plane::from_fn(64, 64, |y, _| f32::from(y > 20));
    let html = page_of(picture(drawing, None));
    assert!(html.contains("src=\"data:image/png;base64,"));
    let shown = embedded(&html)[0].to_luma8();
    assert_eq!((shown.get_pixel(9, 20)[0], shown.get_pixel(9, 21)[0]), (0, 255));
}

#[test]
fn indices_of_any_depth_decode_to_their_colours() {
    for colours in [2u8, 3, 16, 17, 200] {
        let palette: Vec<[u8; 4]> = (0..colours).map(|i| [i, 255 - i, 7, if i == 0 { 0 } else { 255 }]).collect();
        let indices: Vec<u8> = (0..3 * 71).map(|i| (i % usize::from(colours)) as u8).collect();
        let expected: Vec<u8> = indices.iter().flat_map(|index| palette[usize::from(*index)]).collect();
        let png = indexed_png(&Indexed { size: [3, 71], indices, palette });
        assert_eq!(image::load_from_memory(&png).unwrap().to_rgba8().into_raw(), expected, "{colours}");
    }
}

#[test]
fn a_reduced_label_map_has_the_class_that_covers_most() {
    #[rustfmt::skip]
    let classes = vec![
        0, 1, 2, 2,
        1, 0, 2, 0,
        0, 0, 0, 0,
        0, 3, 0, 0,
    ];
    let painted = paint(&Overlay::Labels(LabelMap::new(4, 4, classes)), [4, 4], [2, 2]);
    assert_eq!(painted.indices, [1, 2, 0, 0], "of equals the higher");
    assert_eq!(painted.palette[0][3], 0);
    assert!(painted.palette[1..].iter().all(|colour| colour[3] == 255));
}

#[test]
fn pixels_of_which_nothing_is_known_are_hatched() {
    let painted = paint(&Overlay::Labels(LabelMap::new(16, 16, vec![255; 256])), [16, 16], [16, 16]);
    let hatched = painted.indices.iter().filter(|index| **index > 0).count();
    assert_eq!(hatched, 256 * 3 / 8);
}

#[test]
fn outlines_are_the_edges_of_objects_and_lost_ones_lie_above() {
    #[rustfmt::skip]
    let lost = [
        0, 0, 0, 0, 0,
        0, 1, 1, 1, 0,
        0, 1, 1, 1, 0,
        0, 1, 1, 1, 0,
    ];
    #[rustfmt::skip]
    let invented = [
        1, 0, 0, 0, 0,
        0, 1, 0, 0, 0,
        0, 0, 0, 0, 0,
        0, 0, 0, 0, 0,
    ];
    let [lost, invented] = [lost, invented].map(|pixels| pixels.iter().map(|pixel| *pixel == 1).collect());
    let painted = paint(&Overlay::Outlines { lost, invented }, [4, 5], [4, 5]);
    #[rustfmt::skip]
    let expected = [
        2, 0, 0, 0, 0,
        0, 1, 1, 1, 0,
        0, 1, 0, 1, 0,
        0, 1, 0, 1, 0,
    ];
    assert_eq!(painted.indices, expected);
}

#[test]
fn a_line_one_pixel_wide_stays_unbroken_in_a_reduced_picture() {
    let size = [1000, 2300];
    let line = |y: usize, x: usize| y == 200 + x / 3;
    let lost: Vec<bool> = (0..size[0] * size[1]).map(|i| line(i / size[1], i % size[1])).collect();
    let invented = vec![false; lost.len()];
    let [height, width] = shown_size(size);
    let painted = paint(&Overlay::Outlines { lost, invented }, size, [height, width]);
    let drawn = |y: usize, x: usize| painted.indices[y * width + x] == 1;
    // Shown at a third of the size, every third pixel is seen.
    for x in (0..width).step_by(3) {
        assert!((0..height).step_by(3).any(|y| drawn(y, x)), "column {x}");
    }
    assert!(painted.indices.iter().filter(|index| **index > 0).count() < 6 * width, "it stays a line");
}

#[test]
fn low_confidence_stands_out() {
    let heat = Overlay::Heat(Plane::new(1, 4, vec![1.0, 0.75, 0.5, 0.0]));
    let shown = embedded(&page_of(picture(Plane::new(1, 4, vec![0.5; 4]), Some(heat))))[1].to_rgba8();
    let opacity = [0, 1, 2, 3].map(|x| shown.get_pixel(x, 0)[3]);
    assert_eq!((opacity[0], opacity[2], opacity[3]), (0, 255, 255));
    assert!((100..160).contains(&opacity[1]), "{opacity:?}");
    let light = [1, 2, 3].map(|x| shown.get_pixel(x, 0).0[..3].iter().map(|value| u32::from(*value)).sum::<u32>());
    assert!(light[0] < light[1] && light[1] < light[2], "{light:?}");
}

#[test]
fn an_overlay_is_clear_where_there_is_background() {
    let labels = Overlay::Labels(LabelMap::new(1, 2, vec![0, 1]));
    let html = page_of(picture(Plane::new(1, 2, vec![0.5; 2]), Some(labels)));
    let shown = embedded(&html)[1].to_rgba8();
    assert_eq!(*shown.get_pixel(0, 0), CLEAR);
    assert_eq!(*shown.get_pixel(1, 0), Rgba([86, 180, 233, 255]));
}

#[test]
#[should_panic(expected = "has the size of its image")]
fn an_overlay_of_another_size_is_a_mistake() {
    page_of(picture(Plane::new(2, 2, vec![0.5; 4]), Some(Overlay::Heat(Plane::new(2, 1, vec![0.5; 2])))));
}
