//! Packing from real engines: what docker and podman hold, and what their `save` writes, must
//! all become the same image.

use std::path::Path;

use crate::machine::TRIXIE_BOTH;
use crate::node::host;

/// The lines of a bundle's checksums that do not depend on where its image came from.
const SUMS: &str = "sums() { tar xOf $1/*.ldms SHA256SUMS | grep -E ' (images|layers|packs)/'; }";

#[test]
fn engines_and_what_they_save_give_the_same_image() {
    let dist = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/dist");
    let host = host(TRIXIE_BOTH, "laptop").bind_ro(&dist, "/opt/dist").boot();
    host.ok("cd /root && /opt/dist/ldms-pack keygen --out keys --no-password
         export=\"/media/ldms/ldms-install export ldms-grafana --pubkey /media/keys/ldms.pub\"
         $export > exported.tar
         for engine in docker podman; do
             $engine load --quiet < exported.tar
             $engine tag $($engine images --format '{{.Repository}}:{{.Tag}}' | grep ldms-) \
                 ovishpc/ldms-grafana:latest
         done
         docker save ovishpc/ldms-grafana:latest > docker.tar
         docker save ovishpc/ldms-grafana:latest | gzip > docker.tar.gz
         podman save --quiet ovishpc/ldms-grafana:latest > podman.tar
         podman save --quiet --format oci-archive ovishpc/ldms-grafana:latest > oci.tar");
    let build = |source: &str, out: &str| {
        host.ok(&format!(
            "cd /root && /opt/dist/ldms-pack build --only ldms-grafana --key keys/ldms.key \
             --version 1 --tag latest --from {source} --output {out}"
        ));
        host.ok(&format!("cd /root; {SUMS}; sums {out}"))
    };
    let first = build("docker:", "m0");
    assert!(first.contains("images/ovishpc/ldms-grafana/config.json"), "{first}");
    for (number, source) in
        ["podman:", "docker.tar", "docker.tar.gz", "podman.tar"].iter().enumerate()
    {
        assert_eq!(build(source, &format!("m{}", number + 1)), first, "{source}");
    }
    // For an OCI archive podman writes the configuration anew and compresses the layers: another
    // image ID, but the same layers in the same packs.
    let contents = |sums: &str| sums.lines().skip(1).collect::<Vec<_>>().join("\n");
    assert_eq!(contents(&build("oci.tar", "m5")), contents(&first));
    // What is not there is named, with what to do about it.
    let missing = host.run(
        "cd /root && /opt/dist/ldms-pack build --only ldms-samp --key keys/ldms.key \
         --from docker: --output none",
    );
    assert_ne!(missing.status, 0);
    assert!(missing.stderr.contains("ovishpc/ldms-samp"), "{}", missing.stderr);
    assert!(missing.stderr.contains("what to do: "), "{}", missing.stderr);
}
