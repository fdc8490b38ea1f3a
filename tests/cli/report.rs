//! The page of a report in a real browser: Chromium without a window.
//!
//! Where there is no Chromium the test says so and passes, unless `SYNLABEL_REQUIRE_CHROMIUM` is set.

use std::fs;
use std::io::{Write, stderr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use headless_chrome::protocol::cdp::Browser::{SetDownloadBehavior, SetDownloadBehaviorBehaviorOption};
use headless_chrome::protocol::cdp::types::Event;
use headless_chrome::{Browser, LaunchOptions, Tab};
use serde_json::{Value, json};
use synlabel::imaging::Plane;
use synlabel::phantom::{AXON, draw_pair};
use synlabel::random::Stream;
use synlabel::report::{self, Figure, Gallery, LookFirst, Overlay, Panel, Picture, Report, Reviewed};
use tempfile::TempDir;

/// Names and scores; the browser has to sort them and to quote them.
const IMAGES: [(&str, f64); 3] = [("nerve 10", 0.5), ("nerve \"9\", left", 0.25), ("<b>nerve</b>", 0.75)];

fn panel(number: u64, name: &str, score: f64) -> Panel {
    let (dark, bright) = draw_pair(60, 80, &Stream::new(number));
    let axons = dark.labels.classes().iter().map(|class| *class == AXON).collect();
    let overlays = [
        Some(Overlay::Labels(dark.labels)),
        Some(Overlay::Outlines { lost: axons, invented: vec![false; 60 * 80] }),
        Some(Overlay::Heat(Plane::from_fn(60, 80, |_, x| x as f32 / 80.0))),
        None,
    ];
    let picture = |(overlay, grey): (_, &Plane)| Picture { caption: "picture".into(), grey: grey.clone(), overlay };
    Panel {
        name: name.into(),
        score: Some(score),
        figures: vec![Figure { name: "axons lost".into(), value: (number > 0).then_some(number as f64) }],
        warnings: vec!["the light is uneven".into()],
        pictures: overlays.into_iter().zip([&dark.image, &bright.image].into_iter().cycle()).map(picture).collect(),
    }
}

fn sample() -> Report {
    let panels = IMAGES.iter().zip(0..).map(|((name, score), number)| panel(number, name, *score)).collect();
    Report {
        title: "TEM to SEM".into(),
        answer: vec!["The masks fit.".into()],
        look_first: vec![LookFirst { image: IMAGES[1].0.into(), reason: "lowest score".into() }],
        classes: ["background", "myelin", "axon"].map(String::from).to_vec(),
        galleries: vec![Gallery {
            title: "Translations".into(),
            intro: "Each beside its source.".into(),
            panels,
            reviewed: Reviewed::Yes,
        }],
        ..Report::default()
    }
}

fn find_chromium() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("CHROME") {
        return Some(path.into());
    }
    let folders: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH")?).collect();
    let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
    names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name))).find(|path| path.is_file())
}

/// A report opened in a browser.
struct OpenReport {
    tab: Arc<Tab>,
    faults: Arc<Mutex<Vec<String>>>,
    folder: TempDir,
    /// Ends when it is dropped.
    _browser: Browser,
}

impl OpenReport {
    fn open(chromium: PathBuf, report: &Report) -> Self {
        let folder = tempfile::tempdir().unwrap();
        report::write(folder.path(), report).unwrap();
        let options = LaunchOptions {
            path: Some(chromium),
            sandbox: false,
            window_size: Some((1280, 900)),
            args: ["--disable-quic", "--disable-component-update"].map(AsRef::as_ref).to_vec(),
            ..LaunchOptions::default()
        };
        let browser = Browser::new(options).unwrap();
        let tab = browser.new_tab().unwrap();
        let faults = Arc::new(Mutex::new(Vec::new()));
        watch(&tab, &faults);
        let downloads = SetDownloadBehavior {
            behavior: SetDownloadBehaviorBehaviorOption::Allow,
            browser_context_id: None,
            download_path: Some(folder.path().to_str().unwrap().into()),
            events_enabled: None,
        };
        tab.call_method(downloads).unwrap();
        let address = format!("file://{}", folder.path().join("report.html").display());
        tab.navigate_to(&address).unwrap().wait_until_navigated().unwrap();
        Self { tab, faults, folder, _browser: browser }
    }

    /// The value of a JavaScript expression.
    fn ask(&self, expression: &str) -> Value {
        let text = self.tab.evaluate(&format!("JSON.stringify({expression})"), false).unwrap();
        serde_json::from_str(text.value.unwrap_or_else(|| panic!("{expression} failed")).as_str().unwrap()).unwrap()
    }

    fn press(&self, keys: &[&str]) {
        for key in keys {
            self.tab.press_key(key).unwrap();
        }
    }

    fn click(&self, selector: &str) {
        self.tab.find_element(selector).unwrap().click().unwrap();
    }

    /// The names of the panels from top to bottom.
    fn names(&self) -> Value {
        self.ask("[...document.querySelectorAll('.panel')].map(panel => panel.dataset.name)")
    }

    fn current(&self) -> Value {
        self.ask("document.activeElement.dataset.name ?? null")
    }

    /// The visibility of the overlays of the panel with the focus.
    fn overlays(&self) -> Value {
        let of_panel = "[...document.activeElement.querySelectorAll('.overlay')]";
        self.ask(&format!("[...new Set({of_panel}.map(image => getComputedStyle(image).visibility))]"))
    }

    fn reload(&self) {
        self.ask("window.isOld = true");
        self.tab.reload(false, None).unwrap();
        wait_until("the page is loaded again", || {
            self.ask("!window.isOld && document.readyState === 'complete'") == json!(true)
        });
    }

    fn download(&self, name: &str) -> String {
        let path = self.folder.path().join(name);
        wait_until("the file is saved", || path.is_file());
        fs::read_to_string(path).unwrap()
    }
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(20), "waited in vain until {what}");
        sleep(Duration::from_millis(50));
    }
}

/// Writes down what a developer would see in red.
fn watch(tab: &Tab, faults: &Arc<Mutex<Vec<String>>>) {
    let faults = Arc::clone(faults);
    tab.enable_runtime().unwrap().enable_log().unwrap();
    let listener = move |event: &Event| {
        let fault = match event {
            Event::RuntimeExceptionThrown(event) => format!("{:?}", event.params),
            Event::LogEntryAdded(event) => format!("{:?}", event.params),
            Event::RuntimeConsoleAPICalled(event) => format!("{:?}", event.params),
            _ => return,
        };
        faults.lock().unwrap().push(fault);
    };
    tab.add_event_listener(Arc::new(listener)).unwrap();
}

fn pictures_show(page: &OpenReport) {
    let shown = "image => image.naturalWidth > 0 && image.naturalHeight > 0 && image.checkVisibility()";
    assert_eq!(page.ask("document.images.length"), json!(3 * (4 + 3)));
    assert_eq!(page.ask(&format!("[...document.images].every({shown})")), json!(true));
    let heights = "[...document.querySelectorAll('.picture')].map(picture => Math.round(picture.clientHeight))";
    assert_eq!(page.ask(&format!("new Set({heights}).size")), json!(1), "pictures are equally high");
    assert_eq!(page.ask("document.querySelectorAll('.panel b').length"), json!(0), "names are text");
}

fn panels_sort(page: &OpenReport) {
    let [ten, nine, bold] = IMAGES.map(|(name, _)| name);
    assert_eq!(page.names(), json!([nine, ten, bold]), "worst first");
    page.click(".sort-order");
    assert_eq!(page.names(), json!([bold, ten, nine]), "best first");
    let sort_by = |key: &str| {
        let choose = format!(
            "(select => {{ select.value = '{key}'; select.dispatchEvent(new Event('change', {{ bubbles: true }})) }})"
        );
        page.ask(&format!("{choose}(document.querySelector('.sort-key')) ?? 0"));
    };
    sort_by("name");
    assert_eq!(page.names(), json!([bold, nine, ten]), "numbers in names count as numbers");
    sort_by("figure axons lost");
    assert_eq!(page.names(), json!([nine, bold, ten]), "the missing figure comes last");
    sort_by("score");
    assert_eq!(page.names(), json!([nine, ten, bold]));
}

fn keys_move_and_flip(page: &OpenReport) {
    let [ten, nine, bold] = IMAGES.map(|(name, _)| name);
    page.press(&["j"]);
    assert_eq!(page.current(), json!(nine));
    page.press(&["j", "ArrowDown", "j"]);
    assert_eq!(page.current(), json!(bold), "the last stays");
    page.press(&["k"]);
    assert_eq!(page.current(), json!(ten));
    assert_eq!(page.overlays(), json!(["visible"]));
    page.press(&[" "]);
    assert_eq!(page.overlays(), json!(["hidden"]));
    page.press(&["o"]);
    assert_eq!(page.overlays(), json!(["visible"]));
    page.click("#all-overlays");
    page.press(&["k"]);
    assert_eq!((page.current(), page.overlays()), (json!(nine), json!(["hidden"])));
    page.click("#all-overlays");
}

fn pictures_enlarge(page: &OpenReport) {
    page.click(".look-first a");
    assert_eq!(page.current(), json!(IMAGES[1].0));
    page.click(".panel .picture");
    let stage = "document.querySelector('#enlarged[open] .stage')";
    assert_eq!(page.ask(&format!("{stage}.querySelectorAll('img').length")), json!(2));
    assert_eq!(page.ask(&format!("{stage}.clientHeight > 600")), json!(true));
    page.press(&[" "]);
    assert_eq!(page.ask(&format!("getComputedStyle({stage}.lastChild).visibility")), json!("hidden"));
    page.press(&[" ", "Escape"]);
    assert_eq!(page.ask(&format!("{stage} === null")), json!(true));
    assert_eq!(page.current(), json!(IMAGES[1].0), "the keys go on where they were");
}

fn flags_are_kept_and_saved(page: &OpenReport) {
    let progress = || page.ask("document.querySelector('#progress').textContent");
    let leaves = || page.ask("window.dispatchEvent(new Event('beforeunload', { cancelable: true }))");
    assert_eq!((progress(), leaves()), (json!("0 of 3 reviewed"), json!(true)));
    page.press(&["3", "j", "2", "j", "1"]);
    assert_eq!((progress(), leaves()), (json!("3 of 3 reviewed"), json!(false)), "unsaved flags hold the reader back");
    page.press(&["0"]);
    assert_eq!(progress(), json!("2 of 3 reviewed"));
    page.click(".panel:last-child [data-flag=good]");
    assert_eq!(progress(), json!("3 of 3 reviewed"));
    page.press(&["0", "s"]);
    assert_eq!(
        page.download("review.csv"),
        "image,flag,score\n\"nerve \"\"9\"\", left\",drop,0.25\nnerve 10,fix,0.5\n"
    );
    assert_eq!(leaves(), json!(true));
    page.reload();
    assert_eq!(progress(), json!("2 of 3 reviewed"), "flags outlast the page");
}

#[test]
fn a_report_is_read_and_reviewed_in_a_browser() {
    let Some(chromium) = find_chromium() else {
        assert!(
            std::env::var_os("SYNLABEL_REQUIRE_CHROMIUM").is_none(),
            "no Chromium was found; set CHROME to its path"
        );
        writeln!(stderr(), "no Chromium was found, so the page of the report was not opened; set CHROME to its path")
            .unwrap();
        return;
    };
    let page = OpenReport::open(chromium, &sample());
    pictures_show(&page);
    panels_sort(&page);
    keys_move_and_flip(&page);
    pictures_enlarge(&page);
    flags_are_kept_and_saved(&page);
    assert_eq!(*page.faults.lock().unwrap(), Vec::<String>::new());
}
