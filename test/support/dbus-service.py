"""The service of the D-Bus tests: the documented example, with things that a link must hide.

argv: bus address. Owns org.pantavisor.Example and org.pantavisor.Hidden.
"""
import json
import os
import sys

import dbus
import dbus.bus
import dbus.mainloop.glib
import dbus.service
from gi.repository import GLib

EXAMPLE = "org.pantavisor.Example"
SECRET = "org.pantavisor.Secret"
HIDDEN = "org.pantavisor.Hidden"
PROPERTIES = "org.freedesktop.DBus.Properties"

dbus.mainloop.glib.DBusGMainLoop(set_as_default=True)
bus = dbus.bus.BusConnection(sys.argv[1])
VALUES = {EXAMPLE: {"Level": dbus.Int32(7)}, SECRET: {"Key": "secret-key"}}


class Example(dbus.service.Object):
    @dbus.service.method(EXAMPLE, out_signature="s", sender_keyword="sender")
    def GetInfo(self, sender=None):
        uid = bus.get_unix_user(sender)
        return json.dumps({"service": "dbus-example", "status": "active", "uid": int(uid)})

    @dbus.service.method(EXAMPLE, in_signature="s", out_signature="s")
    def Echo(self, text):
        return text

    @dbus.service.method(EXAMPLE, in_signature="h", out_signature="h")
    def AddLine(self, fd):
        """Writes into the file behind the fd and gives a new one back."""
        number = fd.take()
        os.write(number, b"from the service\n")
        os.close(number)
        reading, writing = os.pipe()
        os.write(writing, b"from the reply")
        os.close(writing)
        return dbus.types.UnixFd(reading)

    @dbus.service.method(EXAMPLE, in_signature="", out_signature="")
    def Emit(self):
        self.Changed("news")
        self.Leaked("secret news")
        self.PropertiesChanged(EXAMPLE, {"Level": dbus.Int32(8)}, [])
        self.PropertiesChanged(SECRET, {"Key": "secret-key"}, [])

    @dbus.service.method(SECRET, out_signature="s")
    def Reveal(self):
        return "secret"

    @dbus.service.signal(EXAMPLE, signature="s")
    def Changed(self, text):
        pass

    @dbus.service.signal(SECRET, signature="s")
    def Leaked(self, text):
        pass

    @dbus.service.signal(PROPERTIES, signature="sa{sv}as")
    def PropertiesChanged(self, interface, changed, invalidated):
        pass

    @dbus.service.method(PROPERTIES, in_signature="ss", out_signature="v")
    def Get(self, interface, name):
        return VALUES[interface][name]

    @dbus.service.method(PROPERTIES, in_signature="s", out_signature="a{sv}")
    def GetAll(self, interface):
        return dbus.Dictionary(VALUES.get(interface, {}), signature="sv")

    @dbus.service.method("org.freedesktop.DBus.ObjectManager", out_signature="a{oa{sa{sv}}}")
    def GetManagedObjects(self):
        kinds = {name: dbus.Dictionary(values, signature="sv") for name, values in VALUES.items()}
        return dbus.Dictionary({dbus.ObjectPath("/org/pantavisor/Example"): kinds}, signature="oa{sa{sv}}")


names = [dbus.service.BusName(EXAMPLE, bus), dbus.service.BusName(HIDDEN, bus)]
Example(bus, "/org/pantavisor/Example")
print("ready", flush=True)
GLib.MainLoop().run()
