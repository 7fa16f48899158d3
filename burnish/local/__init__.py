"""The embedded service: API, worker, tick and Valkey as child processes of one supervisor on this machine."""
