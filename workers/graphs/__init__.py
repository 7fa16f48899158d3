"""Graph rewrites and searches that passes and backends share: one idea per file, named after what it does."""
