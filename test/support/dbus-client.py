"""A python3-dbus client for the D-Bus tests. argv: bus address, what to do."""
import os
import sys
import tempfile

import dbus
import dbus.bus
import dbus.mainloop.glib
from gi.repository import GLib

NAME = "org.pantavisor.Example"
PATH = "/org/pantavisor/Example"
PROPERTIES = "org.freedesktop.DBus.Properties"

dbus.mainloop.glib.DBusGMainLoop(set_as_default=True)
bus = dbus.bus.BusConnection(sys.argv[1])


def example():
    return bus.get_object(NAME, PATH, introspect=False)


def error_of(call):
    try:
        return str(call())
    except dbus.DBusException as error:
        return error.get_dbus_name().rsplit(".", 1)[-1]


def signal():
    loop = GLib.MainLoop()
    seen = []

    def on_changed(text):
        seen.append(str(text))

    def on_properties(interface, changed, _invalidated):
        seen.append("level %d" % changed["Level"])
        loop.quit()

    bus.add_signal_receiver(on_changed, "Changed", NAME, NAME, PATH)
    bus.add_signal_receiver(on_properties, "PropertiesChanged", PROPERTIES, NAME, PATH)
    example().Emit(dbus_interface=NAME)
    GLib.timeout_add(3000, loop.quit)
    loop.run()
    print("\n".join(seen))


def fd():
    with tempfile.TemporaryFile() as file:
        reply = example().AddLine(dbus.types.UnixFd(file), dbus_interface=NAME)
        file.seek(0)
        sys.stdout.write(file.read().decode())
        number = reply.take()
        print(os.read(number, 100).decode())
        os.close(number)


def objects():
    found = example().GetManagedObjects(dbus_interface="org.freedesktop.DBus.ObjectManager")
    for path, interfaces in found.items():
        print(path, *interfaces.keys())


def denied():
    hidden = lambda: bus.call_blocking("org.pantavisor.Hidden", PATH, NAME, "GetInfo", "", ())
    print(
        error_of(lambda: example().Reveal(dbus_interface="org.pantavisor.Secret")),
        error_of(lambda: example().Get("org.pantavisor.Secret", "Key", dbus_interface=PROPERTIES)),
        error_of(hidden),
        error_of(lambda: bus.get_name_owner("org.pantavisor.Hidden")),
        error_of(lambda: bus.name_has_owner("org.pantavisor.Hidden")),
        error_of(lambda: bus.request_name(NAME)),
        example().Echo("hello", dbus_interface=NAME),
    )


def echo():
    print(example().Echo("hello", dbus_interface=NAME))


{"signal": signal, "fd": fd, "objects": objects, "denied": denied, "echo": echo}[sys.argv[2]]()
