from joinder.testing.conformance import VendorConformance


class TestConformance(VendorConformance):
    vendor = "sungrow"
