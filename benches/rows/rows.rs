//! The rows, one function each.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::measure::{self, Figures, medians, until};
use crate::programs::{self, Program, Running};
use crate::report::Row;
use crate::support::servers::{Fake, Rsyncd};
use crate::world::{Target, Way, World, fill_flat};

type RunRow = fn(usize) -> Row;

pub const ALL: &[(&str, RunRow)] = &[
    ("latency", |runs| {
        latency("latency", "One small file rewritten, to an rsync daemon", runs, || {
            World::with_rsyncd(1)
        })
    }),
    ("latency-ssh", |runs| latency("latency-ssh", "The same over ssh", runs, World::with_ssh)),
    ("latency-local", |runs| {
        latency("latency-local", "The same to a directory", runs, World::local)
    }),
    ("bigdir", bigdir),
    ("burst", burst),
    ("churn", churn),
    ("rename-dir", rename_dir),
    ("fan-out", fan_out),
    ("hung", hung),
    ("start", start),
    ("restart", restart),
    ("storm", storm),
    ("first", first),
    ("million", million),
    ("frugal", crate::frugal::frugal),
];

pub fn names() -> String {
    ALL.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

const REWRITES: usize = 10;

/// Rewrites a file again and again, with a pause between, until each mirror has it. The figures are of one
/// rewriting.
fn rewrite(world: &World, name: &str, running: Option<&mut Running>) -> Figures {
    let mut took = Vec::new();
    let mut running = running;
    if let Some(running) = &mut running {
        running.mark();
    }
    for number in 0..REWRITES {
        std::thread::sleep(Duration::from_millis(300));
        // Others miss a second writing of the same size within a second.
        let content = format!("{:?}{}", Instant::now(), "x".repeat(number));
        let began = Instant::now();
        fs::write(world.source().join(name), &content).unwrap();
        let program = running.as_ref().map_or("rsync", |running| running.program.name());
        arrives(world, name, content.as_bytes(), program);
        took.push(began.elapsed().as_secs_f64());
    }
    std::thread::sleep(Duration::from_millis(200));
    let figures = running.map(|running| running.figures(0.0)).unwrap_or_default();
    let cpu = figures.cpu.map(|cpu| cpu / REWRITES as f64);
    Figures { seconds: measure::median(took), cpu, ..figures }
}

fn arrives(world: &World, name: &str, content: &[u8], program: &str) {
    for target in &world.targets {
        let at = target.dir.join(name);
        let what = format!("{name} to be brought by {program}");
        until(&what, || fs::read(&at).is_ok_and(|found| found == content));
    }
}

/// The same by an rsync that was connected before, and waits for its list.
fn warm(world: &World, name: &str) -> Figures {
    let target = &world.targets[0];
    let master = Master::start(target);
    let mut took = Vec::new();
    for number in 0..REWRITES {
        let mut command = target.rsync(master.as_ref().map(|master| master.socket.as_path()));
        command.args(["--from0", "--files-from=-", "--ignore-times"]);
        if matches!(target.way, Way::Rsyncd { .. }) {
            command.arg("--sockopts=TCP_NODELAY");
        }
        let source = format!("{}/", world.source().display());
        let mut child =
            command.arg(source).arg(target.operand()).stdin(Stdio::piped()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(500));
        let content = format!("{:?} warm {number}", Instant::now());
        let began = Instant::now();
        fs::write(world.source().join(name), &content).unwrap();
        let list = format!("./{name}\0");
        child.stdin.take().unwrap().write_all(list.as_bytes()).unwrap();
        arrives(world, name, content.as_bytes(), "rsync");
        took.push(began.elapsed().as_secs_f64());
        child.wait().unwrap();
    }
    Figures { seconds: measure::median(took), ..Figures::default() }
}

/// An ssh connection that others share.
struct Master {
    child: Child,
    socket: PathBuf,
}

impl Master {
    fn start(target: &Target) -> Option<Self> {
        let Way::Ssh { keys, .. } = &target.way else { return None };
        let socket = keys.join("bench-master");
        let command = target.rsh(Some(&socket))?;
        let mut words = command.split(' ');
        let child = Command::new(words.next()?)
            .args(words)
            .args(["-M", "-N", "127.0.0.1"])
            .spawn()
            .unwrap();
        until("the ssh master", || socket.exists());
        Some(Self { child, socket })
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Processor time of what it starts and waits for is added.
fn bare(work: impl FnOnce()) -> Figures {
    let (before, began) = (measure::cpu_of_children(), Instant::now());
    work();
    let seconds = began.elapsed().as_secs_f64();
    Figures { seconds, cpu: Some(measure::cpu_of_children() - before), ..Figures::default() }
}

fn rsync(world: &World, target: &Target, options: &[&str]) -> Command {
    let mut command = target.rsync(None);
    command.args(options).arg(format!("{}/", world.source().display())).arg(target.operand());
    command
}

fn run_rsync(world: &World, target: &Target, options: &[&str]) {
    assert!(rsync(world, target, options).status().unwrap().success());
}

/// One rsync each, all at once.
fn run_rsyncs(world: &World, options: &[&str]) {
    let children: Vec<Child> =
        world.targets.iter().map(|target| rsync(world, target, options).spawn().unwrap()).collect();
    children.into_iter().for_each(|mut child| assert!(child.wait().unwrap().success()));
}

fn row(name: &'static str, work: &'static str, columns: Vec<(&'static str, Vec<Figures>)>) -> Row {
    let columns = columns.into_iter().map(|(name, runs)| (name, medians(&runs))).collect();
    Row { name, work, columns, remark: String::new() }
}

fn latency(name: &'static str, work: &'static str, runs: usize, world: impl Fn() -> World) -> Row {
    let mut columns = Vec::new();
    let (mut cold_runs, mut warm_runs) = (Vec::new(), Vec::new());
    for program in programs::ALL {
        let mut figures = Vec::new();
        for _ in 0..runs {
            let world = world();
            world.fill(10, 10, 100);
            world.equalize();
            let mut running = Running::ready(program, &world, false);
            figures.push(rewrite(&world, "hot", Some(&mut running)));
        }
        columns.push((program.name(), figures));
    }
    for _ in 0..runs {
        let world = world();
        world.fill(10, 10, 100);
        world.equalize();
        fs::write(world.source().join("hot"), "hot").unwrap();
        fs::write(world.dir.path().join("list"), "./hot\0").unwrap();
        let list = format!("--files-from={}", world.dir.path().join("list").display());
        cold_runs.push(bare(|| run_rsync(&world, &world.targets[0], &["--from0", &list])));
        warm_runs.push(warm(&world, "hot"));
    }
    columns.push(("bare rsync, cold", cold_runs));
    columns.push(("bare rsync, warm", warm_runs));
    row(name, work, columns)
}

const FLAT: usize = 200_000;

fn bigdir(runs: usize) -> Row {
    let world = World::with_rsyncd(1);
    fill_flat(&world.source(), FLAT);
    world.equalize();
    let mut columns = Vec::new();
    for program in programs::ALL {
        let mut running = Running::ready(program, &world, false);
        let figures = (0..runs).map(|_| rewrite(&world, "f100000", Some(&mut running)));
        columns.push((program.name(), figures.collect()));
    }
    columns.push(("bare rsync, warm", (0..runs).map(|_| warm(&world, "f100000")).collect()));
    row("bigdir", "One file rewritten in a flat directory of 200,000", columns)
}

/// Writes so many files at once; done when each mirror has them all.
fn write_all(world: &World, names: &[String], content: &str) -> Duration {
    for name in names {
        fs::write(world.source().join(name), content).unwrap();
    }
    Duration::ZERO
}

/// Every twentieth is waited for: looking at all of them would cost as much as what is measured.
fn all_arrive(world: &World, names: &[String], content: &str) {
    for name in names.iter().step_by(20).chain(names.last()) {
        arrives(world, name, content.as_bytes(), "any");
    }
}

/// After the figures were taken, none may be missing.
fn none_is_missing(world: &World, names: &[String], content: &str) {
    names.iter().for_each(|name| arrives(world, name, content.as_bytes(), "any"));
}

fn burst(runs: usize) -> Row {
    let world = World::with_rsyncd(1);
    fill_flat(&world.source(), FLAT);
    world.equalize();
    let names: Vec<String> = (0..2000).map(|number| format!("f{:06}", number * 97)).collect();
    let mut columns = Vec::new();
    for program in programs::ALL {
        let mut running = Running::ready(program, &world, true);
        let mut figures = Vec::new();
        for run in 0..runs {
            let content = format!("{program:?} {run}");
            running.mark();
            let began = Instant::now();
            write_all(&world, &names, &content);
            all_arrive(&world, &names, &content);
            figures.push(running.figures(began.elapsed().as_secs_f64()));
            none_is_missing(&world, &names, &content);
            std::thread::sleep(Duration::from_millis(500));
        }
        columns.push((program.name(), figures));
    }
    let list: String = names.iter().map(|name| format!("./{name}\0")).collect();
    fs::write(world.dir.path().join("list"), list).unwrap();
    let list = format!("--files-from={}", world.dir.path().join("list").display());
    let figures = (0..runs).map(|run| {
        let content = format!("bare {run}");
        bare(|| {
            write_all(&world, &names, &content);
            run_rsync(
                &world,
                &world.targets[0],
                &["--from0", "--ignore-times", "--sockopts=TCP_NODELAY", &list],
            );
        })
    });
    columns.push(("writing, and one bare rsync", figures.collect()));
    row("burst", "2,000 files rewritten in that directory at once", columns)
}

fn churn(runs: usize) -> Row {
    let names: Vec<String> =
        (0..10_000).map(|number| format!("d{}/f{number}", number % 100)).collect();
    let prepare = || {
        let world = World::with_rsyncd(4);
        (0..100)
            .for_each(|number| fs::create_dir(world.source().join(format!("d{number}"))).unwrap());
        world.equalize();
        world
    };
    let content = "x".repeat(1000);
    let mut columns = Vec::new();
    for program in programs::ALL {
        let mut figures = Vec::new();
        for _ in 0..runs {
            let world = prepare();
            let running = Running::ready(program, &world, true);
            let began = Instant::now();
            write_all(&world, &names, &content);
            all_arrive(&world, &names, &content);
            figures.push(running.figures(began.elapsed().as_secs_f64()));
            none_is_missing(&world, &names, &content);
        }
        columns.push((program.name(), figures));
    }
    let figures = (0..runs).map(|_| {
        let world = prepare();
        bare(|| {
            write_all(&world, &names, &content);
            run_rsyncs(&world, &["--sockopts=TCP_NODELAY"]);
            all_arrive(&world, &names, &content);
        })
    });
    columns.push(("writing, and one bare rsync each", figures.collect()));
    row("churn", "10,000 small files written as fast as possible, to four mirrors", columns)
}

/// Passes bytes on and counts those that are sent.
struct Meter {
    port: u16,
    sent: Arc<AtomicU64>,
}

impl Meter {
    fn start(to: u16) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let meter = Self { port: listener.local_addr().unwrap().port(), sent: Arc::default() };
        let sent = meter.sent.clone();
        // It ends with this process.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = std::net::TcpStream::connect(("127.0.0.1", to)).unwrap();
                let (client2, server2) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let sent = sent.clone();
                std::thread::spawn(move || pass_on(client, server, &sent));
                std::thread::spawn(move || pass_on(server2, client2, &AtomicU64::new(0)));
            }
        });
        meter
    }
}

fn pass_on(mut from: std::net::TcpStream, mut to: std::net::TcpStream, count: &AtomicU64) {
    use std::io::Read;
    let _ = to.set_nodelay(true);
    let mut buffer = vec![0; 1 << 16];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        count.fetch_add(read as u64, Ordering::Relaxed);
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Write);
}

fn rename_dir(runs: usize) -> Row {
    let server = Rsyncd::start();
    let meter = Meter::start(server.port);
    let dir = server.path("t");
    let world = World::behind(meter.port, "m/t", dir, Some(server));
    crate::world::fill(&world.source().join("p/x0"), 41, 50, 102_400);
    world.equalize();
    let target = &world.targets[0];
    let arrives = |name: &str, old: &str| {
        until("the new name", || {
            !target.dir.join("p").join(old).exists()
                && (0..41).all(|number| {
                    let directory = target.dir.join("p").join(name).join(format!("d0/d{number}"));
                    fs::read_dir(directory).is_ok_and(|entries| {
                        entries
                            .flatten()
                            .filter(|entry| !entry.file_name().to_string_lossy().starts_with('.'))
                            .count()
                            == 50
                    })
                })
        });
    };
    let mut names = (0..).map(|number| (format!("x{number}"), format!("x{}", number + 1)));
    let mut move_on = |after: &mut dyn FnMut()| {
        let (old, new) = names.next().unwrap();
        let (before, began) = (meter.sent.load(Ordering::Relaxed), Instant::now());
        fs::rename(world.source().join("p").join(&old), world.source().join("p").join(&new))
            .unwrap();
        after();
        arrives(&new, &old);
        let seconds = began.elapsed().as_secs_f64();
        std::thread::sleep(Duration::from_millis(300));
        (seconds, meter.sent.load(Ordering::Relaxed) - before)
    };
    let mut columns = Vec::new();
    for program in programs::ALL {
        let mut running = Running::ready(program, &world, program != Program::Lsyncd);
        let mut figures = Vec::new();
        for _ in 0..runs {
            running.mark();
            let (seconds, sent) = move_on(&mut || ());
            figures.push(Figures { bytes_sent: Some(sent), ..running.figures(seconds) });
        }
        columns.push((program.name(), figures));
    }
    let figures = (0..runs).map(|_| {
        let before = measure::cpu_of_children();
        let (seconds, sent) = move_on(&mut || run_rsync(&world, target, &["--delete"]));
        let cpu = Some(measure::cpu_of_children() - before);
        Figures { seconds, cpu, bytes_sent: Some(sent), ..Figures::default() }
    });
    columns.push(("bare rsync -a --delete", figures.collect()));
    row("rename-dir", "A directory of 2,050 files, 210 MB, renamed", columns)
}

fn fan_out(runs: usize) -> Row {
    let world = World::with_rsyncd(30);
    world.fill(10, 10, 100);
    world.equalize();
    let mut columns = Vec::new();
    for program in programs::ALL {
        let mut running = Running::ready(program, &world, false);
        let figures = (0..runs).map(|_| rewrite(&world, "hot", Some(&mut running)));
        columns.push((program.name(), figures.collect()));
    }
    fs::write(world.dir.path().join("list"), "./hot\0").unwrap();
    let list = format!("--files-from={}", world.dir.path().join("list").display());
    let figures = (0..runs).map(|_| {
        bare(|| run_rsyncs(&world, &["--from0", "--ignore-times", "--sockopts=TCP_NODELAY", &list]))
    });
    columns.push(("30 bare rsyncs at once", figures.collect()));
    row("fan-out", "One change to 30 mirrors", columns)
}

fn hung(runs: usize) -> Row {
    let mut columns = Vec::new();
    for program in [Program::Mirrorball, Program::Lsyncd] {
        let figures = (0..runs.min(2)).map(|_| {
            let fake = Fake::hanging();
            let world = World::behind(fake.port, "m/t", PathBuf::new(), None);
            // Of lsyncd a fifth: its time grows with the square.
            let files = if program == Program::Lsyncd { 4000 } else { 20_000 };
            let mut running = Running::start(program, &world, true);
            until("the first connection", || fake.was_connected());
            std::thread::sleep(Duration::from_millis(500));
            running.mark();
            let began = Instant::now();
            for file in 0..files {
                fs::write(world.source().join(format!("f{file}")), "x").unwrap();
            }
            std::thread::sleep(Duration::from_secs(10));
            running.figures(began.elapsed().as_secs_f64())
        });
        let name = if program == Program::Lsyncd { "lsyncd, 4,000 files" } else { program.name() };
        columns.push((name, figures.collect()));
    }
    let mut row = row("hung", "20,000 files written while the only mirror hangs", columns);
    row.remark = "Time is that of the writing and ten seconds; CPU is what counts.".into();
    row
}

/// From the start to the moment when every mirror is known to be equal.
fn start(runs: usize) -> Row {
    let world = World::with_rsyncd(1);
    world.fill(20_000, 5, 100);
    world.equalize();
    let mut columns = Vec::new();
    for program in programs::ALL {
        columns.push((program.name(), (0..runs).map(|_| started(program, &world)).collect()));
    }
    let figures = (0..runs).map(|_| bare(|| run_rsync(&world, &world.targets[0], &["--delete"])));
    columns.push(("bare rsync -a --delete", figures.collect()));
    row(
        "start",
        "20,000 directories with 100,000 files, an equal mirror, nothing known of it",
        columns,
    )
}

fn started(program: Program, world: &World) -> Figures {
    let _ = fs::remove_dir_all(world.dir.path().join(format!("{program:?}")));
    let began = Instant::now();
    let running = Running::start(program, world, true);
    running.wait_until_ready();
    running.figures(began.elapsed().as_secs_f64())
}

fn restart(runs: usize) -> Row {
    let world = World::with_rsyncd(6);
    world.fill(400, 100, 100);
    world.equalize();
    let mut columns = Vec::new();
    for program in programs::ALL {
        let figures = (0..runs).map(|run| {
            if program == Program::Mirrorball && run == 0 {
                drop(Running::ready(program, &world, true));
            }
            let content = format!("{program:?} {run}");
            fs::write(world.source().join("d0/d0/f0"), &content).unwrap();
            let began = Instant::now();
            let running = Running::start(program, &world, true);
            running.wait_until_ready();
            arrives(&world, "d0/d0/f0", content.as_bytes(), "any");
            running.figures(began.elapsed().as_secs_f64())
        });
        columns.push((program.name(), figures.collect()));
    }
    let figures = (0..runs).map(|_| bare(|| run_rsyncs(&world, &["--delete"])));
    columns.push(("six bare rsyncs at once", figures.collect()));
    let scan = (0..runs).map(|_| bare(|| walk_with_stat(&world.source())));
    columns.push(("one scan with stat", scan.collect()));
    row("restart", "40,000 files, six mirrors, one file changed while nothing ran", columns)
}

/// What `find` does with two processes, each over half of the directories.
fn walk_with_stat(root: &Path) {
    let mut tops: Vec<PathBuf> =
        fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    let half = tops.split_off(tops.len() / 2);
    let find = |paths: Vec<PathBuf>| {
        Command::new("find")
            .args(paths)
            .args(["-printf", "%s%T@"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    };
    let children = [find(tops), find(half)];
    children.into_iter().for_each(|mut child| assert!(child.wait().unwrap().success()));
}

fn million(_: usize) -> Row {
    let world = World::local();
    world.fill(100_000, 10, 0);
    world.equalize();
    let mut columns = Vec::new();
    let mut remark = String::new();
    for program in [Program::Mirrorball, Program::Lsyncd] {
        let began = Instant::now();
        let mut running = Running::start(program, &world, false);
        until("watching", || match program {
            Program::Mirrorball => running.log().contains("Watching"),
            _ => running.log().contains(" finished"),
        });
        let figures = running.figures(began.elapsed().as_secs_f64());
        running.wait_until_ready();
        let one = rewrite(&world, "hot", Some(&mut running));
        remark += &format!(
            "{}: {:.1} ms for one change then; {} bytes of memory for each directory at the peak. ",
            program.name(),
            one.seconds * 1000.0,
            figures.peak_bytes.unwrap_or_default() / 100_000
        );
        columns.push((program.name(), vec![figures]));
    }
    columns
        .push(("a walk with stat, two processes", vec![bare(|| walk_with_stat(&world.source()))]));
    let mut row = row(
        "million",
        "A million files in 100,000 directories: until all is watched (lsyncd: until all is compared)",
        columns,
    );
    row.remark = remark;
    row
}

fn storm(runs: usize) -> Row {
    let world = World::with_rsyncd(1);
    for file in 0..100 {
        fs::write(world.source().join(format!("f{file}")), "x").unwrap();
    }
    world.equalize();
    let mut columns = Vec::new();
    let mut writers = Vec::new();
    let mut remark = String::new();
    for program in [Program::Mirrorball, Program::Lsyncd] {
        let mut running = Running::ready(program, &world, true);
        let mut figures = Vec::new();
        for _ in 0..runs {
            running.mark();
            let began = Instant::now();
            let source = world.source().display().to_string();
            let script = "import os,sys\nos.chdir(sys.argv[1])\nfor i in range(1000):\n  for f in range(100):\n    d=os.open('f%d'%f,1|512)\n    os.write(d,b'%d'%i)\n    os.close(d)\n";
            let writer = bare(|| {
                assert!(
                    Command::new("python3")
                        .args(["-c", script, &source])
                        .status()
                        .unwrap()
                        .success()
                )
            });
            let names: Vec<String> = (0..100).map(|file| format!("f{file}")).collect();
            // Others miss a last writing of the same size within a second, and would be waited for in vain.
            if program == Program::Mirrorball {
                all_arrive(&world, &names, "999");
                none_is_missing(&world, &names, "999");
            } else {
                std::thread::sleep(Duration::from_secs(2));
            }
            figures.push(running.figures(began.elapsed().as_secs_f64()));
            writers.push(writer);
        }
        if program == Program::Mirrorball {
            remark = format!(
                "Events lost: {}.",
                if running.log().contains("overflowed") { "yes" } else { "none" }
            );
        }
        columns.push((program.name(), figures));
    }
    columns.push(("the writer alone", writers));
    let mut row =
        row("storm", "One process rewrites 100 files 1,000 times each as fast as it can", columns);
    row.remark = remark;
    row
}

fn first(runs: usize) -> Row {
    let world = World::with_rsyncd(1);
    world.fill(200, 100, 4096);
    let mut columns = Vec::new();
    for program in programs::ALL {
        let figures = (0..runs).map(|_| {
            world.empty();
            started(program, &world)
        });
        columns.push((program.name(), figures.collect()));
    }
    let figures = (0..runs).map(|_| {
        world.empty();
        bare(|| run_rsync(&world, &world.targets[0], &["--delete"]))
    });
    columns.push(("bare rsync -a --delete", figures.collect()));
    row("first", "20,000 small files, 80 MB, to an empty mirror", columns)
}
