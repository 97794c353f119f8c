"""`python -m edgekd.cli`: the command without its installed script."""

from edgekd.cli.app import main

if __name__ == "__main__":
    main()
