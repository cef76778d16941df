//! `compotastic nodes`: who is there.

use anyhow::Result;

use super::{
    client::{ApiArgs, Client},
    table::{Align, age, clean, cut, or_dash, table},
};
use crate::seam::NodeView;

/// Lists the nodes that the daemon has heard
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  compotastic nodes\n  compotastic nodes --members\n  compotastic nodes --json | jq '.[].id'"
)]
pub struct NodesArgs {
    /// Where the daemon is
    #[command(flatten)]
    pub api: ApiArgs,
    /// Only members of our swarm
    #[arg(long)]
    pub members: bool,
    /// One JSON array
    #[arg(long)]
    pub json: bool,
}

fn row(node: &NodeView) -> Vec<String> {
    let model = match (node.foundation_model, node.model_version) {
        (true, _) => "foundation".to_string(),
        (false, Some(version)) => format!("student {version}"),
        (false, None) => "-".to_string(),
    };
    vec![
        node.id.clone(),
        cut(&clean(&node.long_name), 32),
        cut(&clean(&node.short_name), 6),
        node.heard_s_ago.map_or_else(|| "never".to_string(), age),
        or_dash(node.hops_away),
        node.snr_db.map_or_else(|| "-".to_string(), |snr| format!("{snr:.1}")),
        node.battery_percent.map_or_else(|| "-".to_string(), |percent| format!("{percent} %")),
        if node.member { "yes" } else { "no" }.to_string(),
        or_dash(node.device_class),
        model,
        or_dash(node.load),
    ]
}

/// The table of nodes.
pub(super) fn text(nodes: &[NodeView]) -> String {
    use Align::{Left, Right};
    let columns = [
        ("node", Left),
        ("name", Left),
        ("short", Left),
        ("heard", Right),
        ("hops", Right),
        ("SNR dB", Right),
        ("battery", Right),
        ("member", Left),
        ("class", Right),
        ("model", Left),
        ("load", Right),
    ];
    table(&columns, &nodes.iter().map(row).collect::<Vec<_>>())
}

/// Runs `nodes`.
pub fn run(args: NodesArgs) -> Result<()> {
    let mut nodes: Vec<NodeView> = Client::new(&args.api)?.get("/api/nodes")?;
    nodes.retain(|node| node.member || !args.members);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&nodes)?);
    } else if nodes.is_empty() {
        println!("No node was heard yet. `compotastic status` says whether the link is up.");
    } else {
        print!("{}", text(&nodes));
    }
    Ok(())
}
