//! Two hosts on one machine: network namespaces with an Ethernet between them, each with an address and a file system view
//! of its own only as far as the network goes.

use crate::lab::Ended;
use crate::{Lab, NORMED, kill_rank, lab, losses};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

/// Names and addresses of the hosts; the process's number keeps two test runs apart.
struct Hosts {
    names: [String; 2],
}

const ADDRESSES: [&str; 2] = ["10.83.7.1", "10.83.7.2"];

fn ip(words: &[&str]) -> bool {
    let status = Command::new("ip").args(words).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Whether this user may make hosts.
pub(crate) fn can_be_made() -> bool {
    let name = format!("degrain-probe-{}", std::process::id());
    let made = ip(&["netns", "add", &name]);
    made && ip(&["netns", "del", &name])
}

impl Hosts {
    fn new() -> Self {
        let names = [0, 1].map(|host| format!("degrain-{}-{host}", std::process::id()));
        let hosts = Self { names };
        let ends = [0, 1].map(|host| format!("dg{}-{host}", std::process::id() % 100_000));
        for name in &hosts.names {
            assert!(ip(&["netns", "add", name]), "no network namespace can be made");
        }
        assert!(ip(&["link", "add", &ends[0], "type", "veth", "peer", "name", &ends[1]]));
        for ((name, end), address) in hosts.names.iter().zip(&ends).zip(ADDRESSES) {
            assert!(ip(&["link", "set", end, "netns", name]));
            assert!(ip(&["-n", name, "addr", "add", &format!("{address}/24"), "dev", end]));
            assert!(ip(&["-n", name, "link", "set", end, "up"]) && ip(&["-n", name, "link", "set", "lo", "up"]));
        }
        hosts
    }

    /// A job of one rank on each host, started on the first as `mpirun` would by `ssh`.
    fn job(&self, lab: &Lab, words: &[&str]) -> Command {
        let agent = lab.path("agent");
        let [first, second] = &self.names;
        let script = format!(
            "#!/bin/sh\nhost=$1; shift\ncase $host in {}) host={first};; *) host={second};; esac\n\
             exec ip netns exec $host sh -c \"$*\"\n",
            ADDRESSES[0]
        );
        fs::write(&agent, script).unwrap();
        fs::set_permissions(&agent, fs::Permissions::from_mode(0o755)).unwrap();
        let plain = lab.command(&[]);
        let mut command = Command::new("ip");
        command.args(["netns", "exec", first, "mpirun", "--allow-run-as-root"]);
        command.args(["--host", &ADDRESSES.map(|address| format!("{address}:1")).join(","), "-n", "2"]);
        command.args(["--mca", "plm_rsh_agent", agent.to_str().unwrap(), "--mca", "btl", "self,tcp"]);
        command.args(["--mca", "btl_tcp_if_include", "10.83.7.0/24", "--mca", "oob_tcp_if_include", "10.83.7.0/24"]);
        command.args(["-x", "DEGRAIN_CACHE", "-x", "DEGRAIN_DEVICE", "--mca", "mpi_yield_when_idle", "1"]);
        command.args(["--wdir", lab.path("").to_str().unwrap()]);
        command.arg(plain.get_program()).args(words).current_dir(lab.path("")).stdin(Stdio::null());
        command.env("DEGRAIN_CACHE", lab.path("cache")).env("DEGRAIN_DEVICE", "cpu");
        command
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        self.names.iter().for_each(|name| assert!(ip(&["netns", "del", name]) || std::thread::panicking()));
    }
}

pub(crate) fn two_hosts_train_together() {
    let (lab, hosts) = (lab(), Hosts::new());
    let words = ["train", NORMED, "--data=pictures", "--no-pca", "--quiet", "--batch=4", "--set"];
    let words = [&words[..], &["train.sync_batch_norm=true"]].concat();
    let ended: Ended = hosts.job(&lab, &[&words[..], &["--epochs=3", "--out=both"]].concat()).output().unwrap().into();
    ended.ok();
    lab.run(&["train", NORMED, "--data=pictures", "--no-pca", "--quiet", "--batch=8", "--epochs=3", "--out=one"]).ok();
    let (got, wanted) = (losses(&lab, "both"), losses(&lab, "one"));
    assert_eq!(got.len(), wanted.len());
    assert!(got.iter().zip(&wanted).all(|(got, wanted)| (got - wanted).abs() <= 1e-5 * wanted), "{got:?}, {wanted:?}");
    // The second host dies; the first goes on alone.
    let job = hosts.job(&lab, &[&words[..], &["--epochs=9999999", "--out=run"]].concat());
    assert_ne!(kill_rank(&lab, job, 1).code, Some(0));
    let end = (lab.steps("run") + 50).to_string();
    let mut alone = Command::new("ip");
    alone.args(["netns", "exec", &hosts.names[0]]).arg(lab.command(&[]).get_program());
    alone.args(["train", "--resume", "run", "--steps", &end, "--no-pca", "--quiet"]);
    let ended = alone.current_dir(lab.path("")).env("DEGRAIN_DEVICE", "cpu").output().unwrap();
    Ended::from(ended).ok();
    assert_eq!(lab.steps("run"), end.parse::<usize>().unwrap());
}
