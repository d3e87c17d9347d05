"""What owners see: server-rendered, no script, nothing from third parties."""
