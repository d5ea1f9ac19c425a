// TeamCity: .teamcity/settings.kts. The key is a password parameter. Steps are blocks of the build log.
import jetbrains.buildServer.configs.kotlin.*
import jetbrains.buildServer.configs.kotlin.buildSteps.script

version = "2024.12"
project {
    buildType {
        name = "Check"
        vcs { root(DslContext.settingsRoot) }
        params { password("env.DD_API_KEY", "credentialsJSON:00000000-0000-4000-8000-000000000000") }
        steps {
            script {
                scriptContent = "signalbox run"
                dockerImage = "REGISTRY/OWNER/signalbox:0.1.0"
            }
        }
    }
}
