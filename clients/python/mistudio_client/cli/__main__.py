"""`python -m mistudio_client.cli`: the `mistudio` command without its script."""

from mistudio_client.cli.main import main

if __name__ == "__main__":
    main()
