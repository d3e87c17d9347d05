"""What a vendor plugin is tested with: the conformance class, cassettes, fakes."""
