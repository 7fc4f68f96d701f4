//! Pages of runs, in a real browser: at the width of a desktop and of a phone nothing overflows, every picture has a size, nothing is
//! asked of a network and the console stays silent.

use std::path::Path;
use std::process::Command;

use siskin_trainer::progress::Progress;
use siskin_trainer::report;
use siskin_trainer::settings::Settings;
use siskin_trainer::train::fit::fit;
use siskin_trainer::train::run::Run;

/// Tells the page around it, when this one has been laid out: width of the window, of the document, pictures that are shown, of them
/// those that can be seen, things that were fetched.
const PROBE: &str = "<script>addEventListener('load', () => {
    const shown = [...document.querySelectorAll('div > svg')].filter(s => s.checkVisibility());
    const seen = shown.map(s => s.getBoundingClientRect()).filter(r => r.width > 150 && r.height > 80 && r.right <= innerWidth);
    parent.postMessage(['probe', innerWidth, document.documentElement.scrollWidth, shown.length, seen.length,
        performance.getEntriesByType('resource').length].join(' '), '*');
})</script></body>";

/// The page of a short run of `model`, whose text says what a browser must not obey.
fn page(model: &str, dir: &Path) -> String {
    let text = dir.join("text.txt");
    std::fs::write(&text, "<script>document.write('obeyed')</script> & so on.\n".repeat(60)).unwrap();
    let said = Settings {
        model: Some(model.into()),
        n_layers: Some(3),
        d_model: Some(32),
        context: Some(32),
        batch_size: Some("8".into()),
        steps: Some(40),
        eval_every: Some(10),
        sample_every: Some(10),
        observe_every: Some(2),
        threads: Some(2),
        ..Default::default()
    };
    let run_dir = dir.join("run");
    let mut run = Run::start(&said, &[text], &run_dir, &dir.join("model.siskin"), &|_| ()).unwrap();
    let mut progress = Progress::new(0, run.total, true);
    let mut sample = |_: &mut Run| Ok("<script>document.write('obeyed')</script>".to_string());
    fit(&mut run, &mut progress, &mut sample).unwrap();
    drop(run);
    let path = report::write(&run_dir, None).unwrap();
    std::fs::read_to_string(path).unwrap()
}

/// What the probe finds in `page` in a frame `width` wide; a browser's own window cannot be as narrow as a phone's.
fn probe(page: &str, width: u32, dir: &Path) -> Vec<u32> {
    std::fs::write(dir.join("probed.html"), page.replace("</body>", PROBE)).unwrap();
    let frame = format!(
        "<!doctype html><title></title><script>onmessage = e => document.title = e.data</script>\
         <iframe style=\"border:0\" width=\"{width}\" height=\"900\" src=\"probed.html\"></iframe>"
    );
    let (dom, _) = browse(&frame, dir);
    let title = dom.split("<title>").nth(1).and_then(|t| t.split("</title>").next()).unwrap_or_default();
    println!("{width}: {title}");
    title.split(' ').skip(1).map(|n| n.parse().unwrap()).collect()
}

/// What the browser makes of `page`: the DOM, and what it printed.
fn browse(page: &str, dir: &Path) -> (String, String) {
    let path = dir.join("page.html");
    std::fs::write(&path, page).unwrap();
    let output = Command::new("chromium")
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--enable-logging=stderr",
        ])
        .args(["--dump-dom", "--window-size=1400,1000", "--virtual-time-budget=10000"])
        .arg(format!("--user-data-dir={}", dir.join("profile").display()))
        .arg(format!("file://{}", path.display()))
        .output()
        .expect("chromium starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn pages_fit_a_desktop_and_a_phone() {
    if Command::new("chromium").arg("--version").output().is_err() {
        siskin_tests::skip("chromium is not installed");
        return;
    }
    for (model, pictures) in [("llama", 6), ("rnn", 6)] {
        let dir = siskin_tests::temp_dir();
        let page = page(model, dir.path());
        let (dom, printed) = browse(&page, dir.path());
        assert!(dom.contains("<h2>Samples</h2>") && !dom.contains("obeyed</"), "{dom}");
        assert!(!printed.contains("CONSOLE"), "the console says: {printed}");
        // A script of ours needs leave that the page does not give.
        let policy = page.find("<meta http-equiv=\"Content-Security-Policy\"").expect("a policy");
        let after = policy + page[policy..].find('>').unwrap() + 1;
        let open = format!("{}{}", &page[..policy], &page[after..]);
        for width in [1280, 390] {
            let found = probe(&open, width, dir.path());
            let [window, document, shown, seen, fetched] = found[..] else { panic!("no probe") };
            assert_eq!(window, width, "the window");
            assert!(document <= width, "{model}: the page is {document} wide in a window of {width}");
            assert!(shown >= pictures && seen == shown, "{model}: {seen} of {shown} pictures can be seen");
            assert_eq!(fetched, 0, "things fetched");
        }
    }
}
