"""The failing service and three cures for it, under the same 300 clicking users."""
