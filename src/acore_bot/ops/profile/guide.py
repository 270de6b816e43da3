"""What to use when: the text of `acore profile --mode guide`."""

GUIDE = """\
What is slow, or large, or stuck? Nothing has to be prepared: a running bot holds a door open.

  It is slow, or a core is busy      acore profile --mode cpu
      py-spy looks from outside, 100 times a second: a flame graph (SVG) and a table. It costs the
      bot almost nothing, and works if the bot hangs, too. Only what computes is seen.

  Which function is called, how often, and what waits      acore profile --mode cprofile
      Every call on the loop's thread is counted, which slows the bot down meanwhile. Needs nothing
      installed and no permission.

  It takes too much memory           acore profile --mode memory
      memray records every allocation: a flame graph (HTML) of the peak, and a table.

  Its memory grows                   acore profile --mode memory --growth
      What was allocated meanwhile and is still there at the end, small objects included: slower,
      and a large file. Caches that fill look like leaks: compare two runs.

  It is stuck, or something waits    acore profile --mode tasks
      Each asyncio task, and where it waits. Lines of code only, no messages.

Instead of the running bot, a command:   acore profile --mode cpu -- acore ask Hello
A recording once more, as a table:       acore profile --mode analyze FILE

--duration is in seconds (30). Files go to the folder `profiles` of the data, or to --output, and
only you can read them. --pid chooses among several bots; for the CPU, any Python process will do.
cpu and memory need: pip install 'acore-bot[profile]'
"""
