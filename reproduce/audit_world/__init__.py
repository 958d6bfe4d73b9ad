"""What the audit finds in the world: implementations of dropout in public packages."""
