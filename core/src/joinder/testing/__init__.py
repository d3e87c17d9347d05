"""What a vendor plugin is tested with. docs/write-a-vendor.md walks through it.

`joinder check NAME` runs the conformance checks on an installed plugin; `VendorConformance` runs the same ones under
pytest. Both drive the plugin against its own simulator on 127.0.0.1 and against its cassettes, never the vendor.
"""
