//! The guest's file system: busybox, the tests, the programs that they start, modules.
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};

use super::{FRAMES, Programs, cpio::Archive, kernel::Kernel};
use crate::sh::{self, Paths};

/// Prefix of the guest's own lines.
pub(super) const MARK: &str = "enforcer-vm: ";
/// Programs of this machine that the tests start; missing ones are missing in the guest too. They
/// include a shell, because busybox's shell uses its own `nc` and `mount` whatever `PATH` says.
const TOOLS: [&str; 20] = [
    "ip",
    "tc",
    "bridge",
    "nsenter",
    "unshare",
    "setpriv",
    "mount",
    "ethtool",
    "nft",
    "curl",
    "ping",
    "nc",
    "bpftool",
    "tcpdump",
    "stat",
    "sh",
    "sleep",
    "dnsmasq",
    "dhclient",
    "wpa_supplicant",
];
/// Files that the tests read; xdp-tools' dispatcher serves as a foreign XDP program.
const FILES: [&str; 1] = ["/usr/lib/x86_64-linux-gnu/bpf/xdp-dispatcher.o"];
/// Modules that the lab needs, with their dependencies.
pub(super) const MODULES: [&str; 40] = [
    "veth",
    "bridge",
    "8021q",
    "bonding",
    "dummy",
    "ifb",
    "macvlan",
    "vxlan",
    "ip_gre",
    "ipip",
    "sch_ingress",
    "sch_clsact",
    "cls_bpf",
    "act_bpf",
    "nf_tables",
    "nf_tables_set",
    "nft_ct",
    "nft_counter",
    "nft_objref",
    "nft_reject",
    "nft_reject_inet",
    "nft_reject_bridge",
    "nft_meta_bridge",
    "nft_fib_inet",
    "nft_chain_nat",
    "nft_nat",
    "nft_masq",
    "nft_limit",
    "nft_log",
    "nf_conntrack",
    "nf_flow_table",
    "nf_flow_table_inet",
    "nft_flow_offload",
    "nf_log_syslog",
    "af_packet_diag",
    "virtio_net",
    "virtio_pci",
    "virtio_blk",
    "crc32c_generic",
    "ext4",
];

/// Mounts the usual file systems, runs the tests, prints the result, and powers off.
const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox mkdir -p /bin /sbin /proc /sys /dev /tmp /run /mnt /root /var/lib
/bin/busybox --install -s /bin
export PATH=/usr/bin:/bin HOME=/root TMPDIR=/tmp TERM=dumb
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
ln -s /proc/self/fd /dev/fd
ln -s /proc/self/fd/0 /dev/stdin
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mount -t bpf bpf /sys/fs/bpf
ip link set lo up
while read -r module; do
    insmod "/modules/$module" || echo "@MARK@module $module was refused"
done < /modules/order
rm -rf /modules
. /test-environment
if [ -b /dev/vda ]; then
    mkdir /disk && mount -t ext4 /dev/vda /disk && export ENFORCER_DISK=/disk
fi
echo "@MARK@begin"
echo "@MARK@Linux $(uname -r)"
cd /tmp
/usr/bin/enforcer-tests --test-threads=1 --show-output $FILTERS > /dev/console 2>&1
code=$?
while read -r line; do echo "@MARK@skipped $line"; done < /tmp/skips
echo "@MARK@end $code"
poweroff -f
"#;

/// Everything that is the same for all kernels.
pub(super) fn archive(paths: &Paths, programs: &Programs, filters: &[String]) -> Result<Archive> {
    let busybox = sh::which("busybox").context("busybox not found: busybox-static")?;
    let mut archive = base(programs, filters, &busybox)?;
    let mut absent: Vec<&str> =
        TOOLS.into_iter().filter(|tool| !tool_is_added(&mut archive, tool)).collect();
    let mut file_is_added =
        |file: &&str| archive.copy(file.trim_start_matches('/'), Path::new(file)).is_ok();
    absent.extend(FILES.iter().filter(|file| !file_is_added(file)));
    if !absent.is_empty() {
        println!("not on this machine, so not in the guest: {}", absent.join(", "));
    }
    fuzzed(paths, &mut archive)?;
    python(paths, &mut archive)?;
    Ok(archive)
}

/// The same for the other architecture, without the lab: this machine's programs do not run there.
pub(super) fn bare(
    paths: &Paths,
    programs: &Programs,
    filters: &[String],
    root: &Path,
) -> Result<Archive> {
    let places = ["bin/busybox", "usr/bin/busybox"].map(|place| root.join(place));
    let busybox = places.iter().find(|file| file.is_file());
    let mut archive = base(programs, filters, busybox.context("no busybox for that machine")?)?;
    fuzzed(paths, &mut archive)?;
    Ok(archive)
}

/// The parts of every guest: a shell, the two programs, and the files that they need.
fn base(programs: &Programs, filters: &[String], busybox: &Path) -> Result<Archive> {
    let mut archive = shell(busybox, INIT, &programs.enforcer)?;
    archive.copy("usr/bin/enforcer-tests", &programs.tests)?;
    let safe = |c: char| c.is_ascii_alphanumeric() || "_:".contains(c);
    for filter in filters {
        ensure!(filter.chars().all(safe), "`{filter}` is no part of a test's name");
    }
    let environment = format!(
        "FILTERS='{}'\nexport ENFORCER_BIN=/usr/bin/enforcer ENFORCER_SKIPS=/tmp/skips\n\
         export ENFORCER_AGREE_FRAMES={FRAMES} ENFORCER_ANSWERS_FRAMES={FRAMES} ENFORCER_TEST_DATA=/data RUST_BACKTRACE=0\n\
         export ENFORCER_ANSWERS_REPLACEMENTS=20\n\
         : > /tmp/skips\n",
        filters.join(" ")
    );
    archive.file("test-environment", 0o644, environment.as_bytes());
    Ok(archive)
}

/// A shell, the program under test, and the files that both need.
pub(super) fn shell(busybox: &Path, init: &str, enforcer: &Path) -> Result<Archive> {
    let mut archive = Archive::default();
    archive.copy("bin/busybox", busybox)?;
    // Debian's `busybox` needs libraries, `busybox-static` none.
    libraries(&mut archive, busybox)?;
    archive.file("init", 0o755, init.replace("@MARK@", MARK).as_bytes());
    archive.copy("usr/bin/enforcer", enforcer)?;
    archive.file("etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\n");
    archive.file("etc/group", 0o644, b"root:x:0:\n");
    archive.file("etc/hosts", 0o644, b"127.0.0.1 localhost\n::1 localhost\n");
    archive.file("etc/protocols", 0o644, b"icmp 1 ICMP\ntcp 6 TCP\nudp 17 UDP\n");
    Ok(archive)
}

/// Inputs that fuzzing found, and its seeds.
fn fuzzed(paths: &Paths, archive: &mut Archive) -> Result<()> {
    let kinds = ["seeds", "crashes"];
    kinds.into_iter().try_for_each(|kind| {
        inputs(archive, &paths.root.join("tests/data").join(kind), &format!("data/{kind}"))
    })
}

/// A directory of directories of fuzzing's inputs.
fn inputs(archive: &mut Archive, from: &Path, to: &str) -> Result<()> {
    for target in fs::read_dir(from)? {
        let target = target?;
        for input in fs::read_dir(target.path())? {
            let input = input?;
            let names = [target.file_name(), input.file_name()];
            let [target, name] = names.map(|name| name.to_string_lossy().into_owned());
            archive.copy(&format!("{to}/{target}/{name}"), &input.path())?;
        }
    }
    Ok(())
}

/// Adds a program of this machine with its libraries, if it exists.
pub(super) fn tool_is_added(archive: &mut Archive, name: &str) -> bool {
    let Some(file) = sh::which(name) else { return false };
    archive.copy(&format!("usr/bin/{name}"), &file).is_ok() && libraries(archive, &file).is_ok()
}

/// The shared libraries of a program, at the paths where its loader looks for them.
fn libraries(archive: &mut Archive, program: &Path) -> Result<()> {
    // ldd fails on static programs, which need no libraries.
    let text = sh::output(sh::clean("ldd").arg(program)).unwrap_or_default();
    for library in paths_of(&text) {
        archive.copy(library.trim_start_matches('/'), Path::new(library))?;
    }
    Ok(())
}

/// The paths in what `ldd` prints: `libc.so.6 => /lib/libc.so.6 (0x…)`, or the loader alone.
fn paths_of(ldd: &str) -> Vec<&str> {
    ldd.lines().filter_map(|line| line[line.find('/')?..].split_whitespace().next()).collect()
}

/// Names the interpreter, which need not be what `PATH` finds, and the files of the modules that
/// the given lines import, compiled ones too.
const IMPORTED: &str = r"
import os, sys, encodings.idna, encodings.latin_1
exec(sys.argv[1])
print(os.path.realpath(sys.executable))
for module in list(sys.modules.values()):
    for name in (getattr(module, '__file__', None), getattr(module, '__cached__', None)):
        if name: print(name)
";

/// The parts of Python's library that the lab's servers import.
fn python(paths: &Paths, archive: &mut Archive) -> Result<()> {
    let Some(python) = sh::which("python3") else { return Ok(()) };
    let mut imports = BTreeSet::new();
    for file in fs::read_dir(paths.root.join("tests/src/harness"))? {
        let file = file?.path();
        if file.extension().is_some_and(|ext| ext == "py") {
            let text = fs::read_to_string(&file)?;
            let import = |line: &&str| line.starts_with("import ") || line.starts_with("from ");
            imports.extend(text.lines().filter(import).map(str::to_owned));
        }
    }
    let imports = imports.into_iter().collect::<Vec<_>>().join("\n");
    let listed = sh::output(sh::clean(&python).args(["-c", IMPORTED, &imports]))?;
    let mut files = listed.lines().map(Path::new).filter(|file| file.is_file());
    let interpreter = files.next().context("python3 does not say where it is")?;
    libraries(archive, interpreter)?;
    // At its original path, by which it finds its library.
    let start = format!("#!/bin/sh\nexec {} \"$@\"\n", interpreter.display());
    archive.file("usr/bin/python3", 0o755, start.as_bytes());
    for file in files.chain([interpreter]) {
        archive.copy(file.to_string_lossy().trim_start_matches('/'), file)?;
        if file.extension().is_some_and(|ext| ext == "so") {
            libraries(archive, file)?;
        }
    }
    Ok(())
}

/// Adds a kernel's modules, and the order in which they can be loaded.
pub(super) fn add_modules(archive: &mut Archive, kernel: &Kernel, names: &[&str]) -> Result<()> {
    let mut files = BTreeMap::new();
    list(&kernel.modules, &mut files)?;
    let mut order = Vec::new();
    for name in names {
        // A missing module is built in, or has a different name in this kernel.
        load(name, &files, archive, &mut order)?;
    }
    let order = order.iter().map(|name| format!("{name}.ko\n")).collect::<String>();
    archive.file("modules/order", 0o644, order.as_bytes());
    Ok(())
}

/// Adds a module after those that it needs.
fn load(
    name: &str,
    files: &BTreeMap<String, PathBuf>,
    archive: &mut Archive,
    order: &mut Vec<String>,
) -> Result<()> {
    let Some(file) = files.get(name) else { return Ok(()) };
    if order.iter().any(|loaded| loaded == name) {
        return Ok(());
    }
    let content = match file.extension().and_then(|ext| ext.to_str()) {
        Some("xz") => unpacked("xz", file)?,
        Some("zst") => unpacked("zstd", file)?,
        _ => fs::read(file)?,
    };
    for needed in needs(&content) {
        load(&needed, files, archive, order)?;
    }
    archive.file(&format!("modules/{name}.ko"), 0o644, &content);
    order.push(name.to_owned());
    Ok(())
}

fn unpacked(program: &str, file: &Path) -> Result<Vec<u8>> {
    let output = sh::clean(program).arg("-dc").arg(file).output();
    let output = output.with_context(|| format!("cannot start {program}"))?;
    ensure!(output.status.success(), "{program} cannot unpack {}", file.display());
    Ok(output.stdout)
}

/// Module names, with `_` as in the kernel, and their files.
fn list(dir: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            list(&path, files)?;
        } else if let Some((name, _)) = name.split_once(".ko") {
            files.insert(name.replace('-', "_"), path);
        }
    }
    Ok(())
}

/// The dependencies in a module's section `.modinfo`: `depends=stp,llc`, between zero bytes.
fn needs(module: &[u8]) -> Vec<String> {
    let field = b"\0depends=";
    let Some(at) = module.windows(field.len()).position(|window| window == field) else {
        return Vec::new();
    };
    let rest = module.get(at + field.len()..).unwrap_or_default();
    let value = rest.split(|byte| *byte == 0).next().unwrap_or_default();
    let names = String::from_utf8_lossy(value);
    names.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_a_module_needs() {
        let module = b"\x7fELF\0license=GPL\0depends=stp,nf-conntrack\0retpoline=Y\0";
        assert_eq!(needs(module), ["stp", "nf_conntrack"]);
        assert!(needs(b"\0depends=\0name=veth\0").is_empty());
        assert!(needs(b"nothing").is_empty());
    }

    #[test]
    fn reads_the_paths_of_libraries() {
        let text = "\tlinux-vdso.so.1 (0x1)\n\tlibc.so.6 => /lib/x/libc.so.6 (0x2)\n\t/lib64/ld.so (0x3)\n";
        assert_eq!(paths_of(text), ["/lib/x/libc.so.6", "/lib64/ld.so"]);
    }
}
