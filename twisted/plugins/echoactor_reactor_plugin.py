from twisted.application.reactors import Reactor

uvloop = Reactor("uvloop", "echoactor.uvloopreactor", "uvloop")
