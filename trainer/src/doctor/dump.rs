//! Temporary.
use super::case::*;
/// Temporary.
pub fn dump(c: &Case) -> String {
    let late = c.late();
    let mut out = String::new();
    let parts: Vec<String> = late.last().map(|r| r.activations.iter().filter(|a| a.name.starts_with("blocks")).map(|a| a.name.clone()).collect()).unwrap_or_default();
    let ratio = |r: &crate::observe::record::Record| { let b: Vec<_> = r.activations.iter().filter(|a| a.name.starts_with("blocks")).collect(); b[0].gradient / b[b.len()-1].gradient };
    out += &format!("parts {} depth first {:.1e} late {:.1e} max {:.1e} | ", parts.len(), ratio(&c.records[0]), median(late.iter().map(ratio)), c.records.iter().map(ratio).fold(0.0, f64::max));
    let fl = |r: &crate::observe::record::Record| r.activations.first().map_or(0.0, |a| a.rms);
    let ll = |r: &crate::observe::record::Record| r.activations.iter().filter(|a| a.name.starts_with("blocks")).map(|a| a.rms).fold(0.0, f64::max);
    out += &format!("rms embed {:.2} max {:.2} | ", median(late.iter().map(fl)), median(late.iter().map(ll)));
    if let Some(r) = late.last() { for (i, t) in r.times.iter().enumerate() {
        let g: Vec<f64> = (0..t.gradient.len()).map(|s| median(late.iter().map(|r| r.times[i].gradient[s]))).collect();
        let n = g.len(); let last = g[n-1];
        let reach = g.iter().rev().take_while(|x| **x >= 0.01*last).count();
        let reach0 = { let g = &c.records[0].times[i].gradient; g.iter().rev().take_while(|x| **x >= 0.01*g[n-1]).count() };
        out += &format!("time{i} reach0 {reach0} late {reach}/{n} first/last {:.1e} max/last {:.1e} init {:.1e} | ", g[0]/last, g.iter().fold(0.0f64, |a,b| a.max(*b))/last, { let g=&c.records[0].times[i].gradient; g[0]/g[n-1]});
    } }
    for key in ["dead","sat","ent"] {
        let v: Vec<f64> = parts.iter().filter_map(|p| { let m = median(series(late, p, |a| match key { "dead" => a.dead, "sat" => a.saturated, _ => a.entropy }).map(|x| x.1)); (!m.is_nan()).then_some(m) }).collect();
        if !v.is_empty() { out += &format!("{key} {:.2?} | ", v); }
    }
    let ur = |r: &crate::observe::record::Record| median(r.tensors.iter().filter(|t| t.update_ratio>0.0).map(|t| t.update_ratio));
    let urx = |r: &crate::observe::record::Record| r.tensors.iter().map(|t| t.update_ratio).fold(0.0, f64::max);
    let all = &c.records[1.min(c.records.len()-1)..];
    out += &format!("upd med first {:.1e} mid {:.1e} max-over-run {:.1e} maxtensor mid {:.1e} | ", ur(&c.records[0]), median(all.iter().map(ur)), all.iter().map(ur).fold(0.0, f64::max), median(all.iter().map(urx)));
    let gn = median(c.history.updates.iter().map(|u| u.grad_norm));
    let gmax = c.history.updates.iter().map(|u| u.grad_norm).fold(0.0, f64::max);
    out += &format!("gnorm med {:.1e} max {:.1e} | lnV {:.2} H1 {:.2} loss first {:.2} mid {:.2} end {:.2} min {:.2}| ", gn, gmax, c.uniform(), c.unigram, c.history.updates[0].loss, c.loss(0.4..0.6), c.loss(0.9..1.0), (0..20).map(|i| c.loss(i as f64/20.0..(i+1) as f64/20.0)).fold(f64::INFINITY, f64::min));
    let best = c.history.best(); let last = c.history.evals.last();
    out += &format!("val best {:?} last {:?} notes {}", best, last, c.history.notes.len());
    if let Some(n) = c.history.notes.first() { out += &format!(" '{}'", n.1); }
    out
}
